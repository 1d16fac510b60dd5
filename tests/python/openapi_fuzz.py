"""Validates the OpenAPI document of a running server, then has schemathesis try every
operation in it.

Usage: openapi_fuzz.py URL. Ends with an error if the document is not valid OpenAPI 3.1, if
an answer is a server error or not as the document says, or if an operation was never
seen to succeed.
"""

import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

import httpx
import schemathesis
from jsonschema import Draft202012Validator
from openapi_document import STATUS_OF_CODE, Document
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from schemathesis.cli import schemathesis as cli
from schemathesis.core import NOT_SET
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response

BASE = sys.argv[1]
DOCUMENT = Document(BASE)
WATCH = "GET /services/$watch"

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "every_line_conforms",
    "failures_are_told_as_documented",
    # Not these: unsupported_method and allow_header_conformance (a known path with another
    # method is 501, as gRPC-gateway has it, not 405), positive_data_acceptance (that a url
    # has to be absolute, or a token one of ours, is said in words), and those about
    # authentication, of which there is none.
]

CONFIG = """
seed = 20260101
request-timeout = 60
suppress-health-check = ["too_slow"]
continue-on-failure = true
# TRACE and its like are 501 by design, and tested by themselves.
phases.coverage.unexpected-methods = []
phases.coverage.extra-data-sources.responses = false
phases.fuzzing.extra-data-sources.responses = false
phases.examples.enabled = false
phases.stateful.enabled = false
generation.max-examples = 50
generation.database = "none"
output.sanitization.enabled = false
warnings = false

[[operations]]
include-path = "/services/$watch"
# Each takes as long as its deadline.
generation.max-examples = 10
"""

# How long a watch is looked at.
DEADLINE = "100m"

seen = Counter()
turns = {}


def turn(label):
    """0, 1, 0, 1, … for each operation."""
    return next(turns.setdefault(label, itertools.cycle([0, 1])))


def registered():
    """The id of a fresh registration."""
    number = next(numbers)
    body = {"service": f"known-{number}", "url": f"http://known:{number}", "labels": {"a": "b"}, "info": {"n": 1}}
    return httpx.post(f"{BASE}/services/$register", json=body).raise_for_status().json()["id"]


numbers = itertools.count(1)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Every second time, what a generator cannot know: ids and urls that are good."""
    label = case.operation.label
    if label == WATCH:
        # Else it would never end.
        case.headers["Grpc-Timeout"] = DEADLINE
        if turn(label):
            case.headers["Accept"] = "text/event-stream"
    elif "{id}" in label and turn(label):
        case.path_parameters["id"] = registered()
    elif label.startswith("POST") and isinstance(case.body, dict) and turn(label):
        if case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY):
            return
        entries = case.body.get("requests", []) if "$batch" in label else [case.body]
        for entry in entries:
            # Of the generated, what hardly any rule that is told in words forbids.
            kept = {key: entry[key] for key in ("info", "ttl_seconds", "weight") if key in entry}
            entry.clear()
            entry |= {"service": "fuzzed", "url": f"http://fuzzed:{next(numbers)}", "drop_grace": "1.5s"} | kept


@schemathesis.hook
def after_call(context, case, response):
    seen[case.operation.label, response.status_code] += 1


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """False for what is no failure."""
    label = case.operation.label
    if label == WATCH and response.status_code == 504:
        return False  # The deadline that we set.
    if isinstance(failure, AcceptedNegativeData):
        return not is_good(label, case.body, response.request.url)
    return True


def is_good(label, body, url):
    """Whether a request that was meant to be bad is a good one as it was sent: the text of a
    query has no types, and null in a body is the same as unset.
    """
    validator = DOCUMENT.request_validator(label)
    if validator is not None and body is not NOT_SET and not validator.is_valid(without_null(body)):
        return False
    sent = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    for parameter in DOCUMENT.operations()[label].get("parameters", []):
        schema = parameter["schema"]
        values = [value for key, value in sent if key == parameter["name"]]
        if schema["type"] == "integer":
            values = [int(value) if value.isdecimal() else value for value in values]
        if schema["type"] not in ("array", "object") and len(values) > 1:
            return False
        # Keys such as `labels[a][b]` name no field, and unknown names are passed over.
        if schema["type"] != "array" and not all(Draft202012Validator(schema).is_valid(value) for value in values):
            return False
    return True


def without_null(value):
    if isinstance(value, dict):
        return {key: without_null(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_null(inner) for inner in value]
    return value


@schemathesis.deserializer("application/json")
def first_line(context, response):
    """The schema of a stream is that of one line."""
    return json.loads(lines(response)[0] if is_stream(context.case, response) else response.content)


@schemathesis.check
def every_line_conforms(ctx, response, case):
    if not is_stream(case, response):
        return
    for line in lines(response):
        alone = Response(
            status_code=response.status_code,
            headers=response.headers,
            content=line,
            request=response.request,
            elapsed=response.elapsed,
            verify=response.verify,
        )
        case.operation.validate_response(alone, case=case)


def is_stream(case, response):
    content_type = response.headers.get("content-type", [""])[0]
    return case.operation.label == WATCH and response.status_code == 200 and content_type == "application/json"


def lines(response):
    return response.content.splitlines()


@schemathesis.check
def failures_are_told_as_documented(ctx, response, case):
    """A failure's status is listed by itself, not only as any other, and fits its code."""
    if response.status_code < 400:
        return
    status, body = response.status_code, response.json()
    code = body.get("error", body)["code"]
    assert STATUS_OF_CODE[code] == status, f"{status} for code {code}"
    listed = DOCUMENT.operations()[case.operation.label]["responses"]
    assert str(status) in listed, f"{status} is not listed for {case.operation.label}"


def fuzz():
    """The exit code of `schemathesis run`."""
    with tempfile.TemporaryDirectory() as folder:
        # It keeps a cache where it runs.
        os.chdir(folder)
        with open("config.toml", "w") as file:
            file.write(CONFIG)
        arguments = ["--config-file", "config.toml", "--no-color", "run", f"{BASE}/openapi.json"]
        try:
            return cli(arguments + ["--checks", ",".join(CHECKS)], standalone_mode=False)
        except SystemExit as end:
            return end.code


def main():
    validate(DOCUMENT.content, cls=OpenAPIV31SpecValidator)
    print("valid OpenAPI", DOCUMENT.content["openapi"], flush=True)

    code = fuzz()
    for (label, status), count in sorted(seen.items()):
        print(f"{count:6} {status} {label}")
    # The path of the document itself is not tried.
    DOCUMENT.answer_validator("GET /openapi.json", 200).validate(DOCUMENT.content)
    seen["GET /openapi.json", 200] += 1
    silent = [label for label in DOCUMENT.operations() if not seen[label, 200]]
    if code:
        raise SystemExit(f"schemathesis ended with {code}")
    if silent:
        raise SystemExit(f"never seen to succeed: {silent}")
    print("conforms")


main()
