"""Reads watches of a running server, as lines and as Server-Sent Events, and holds all of
it against the OpenAPI document.

Usage: openapi_watch.py URL.
"""

import itertools
import json
import sys

import httpx
from openapi_document import EVENTS, JSON, STATUS_OF_CODE, Document

BASE = sys.argv[1]
DOCUMENT = Document(BASE)
PATH = "/services/$watch"
WATCH = f"GET {PATH}"
# More than enough for what is waited for; the error at its end is waited for too.
DEADLINE = {"Grpc-Timeout": "3S"}

numbers = itertools.count(1)


def register():
    body = {"service": "watched", "url": f"http://watched:{next(numbers)}", "info": {"a": [1, None, {}]}}
    return httpx.post(f"{BASE}/services/$register", json=body).raise_for_status().json()["id"]


def deregister(instance):
    httpx.delete(f"{BASE}/services/{instance}").raise_for_status()


def lines(query, headers=None):
    """The lines of a watch, checked; the last one is the deadline's error."""
    valid = DOCUMENT.answer_validator(WATCH, 200, JSON)
    with httpx.stream("GET", f"{BASE}{PATH}", params=query, headers=DEADLINE | (headers or {})) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == JSON, response.headers
        for line in response.iter_lines():
            line = json.loads(line)
            valid.validate(line)
            yield line


def events(query, headers=None):
    """The same as events, each a dict of its fields with its data read."""
    valid = DOCUMENT.answer_validator(WATCH, 200, EVENTS)
    valid_data = DOCUMENT.answer_validator(WATCH, 200, EVENTS, "properties", "data", "contentSchema")
    accept = DEADLINE | {"Accept": EVENTS} | (headers or {})
    with httpx.stream("GET", f"{BASE}{PATH}", params=query, headers=accept) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == EVENTS, response.headers
        event = {}
        for line in response.iter_lines():
            if line:
                field, _, value = line.partition(": ")
                assert field not in event, f"{field} twice in one event"
                event[field] = value
                continue
            valid.validate(event)
            data = json.loads(event["data"])
            valid_data.validate(data)
            yield event | {"data": data}
            event = {}


def check_lines():
    """Every type of message comes by; then the deadline ends the stream."""
    doomed = register()
    kinds = set()
    stream = lines({"service": "watched", "bookmark_interval": "100ms"})
    for line in stream:
        if "error" in line:
            assert line["error"]["code"] == 4, line
            break
        message = line["result"]
        if message["type"] == "SYNCED":
            deregister(doomed)
        if message["type"] in ("SNAPSHOT", "CHANGES"):
            assert message["events"], message
        kinds.add(message["type"])
    assert list(stream) == [], "nothing comes after an error"
    assert kinds == {"SNAPSHOT", "SYNCED", "CHANGES", "BOOKMARK"}, kinds

    token = httpx.get(f"{BASE}/services", params={"service": "other"}).json()["resume_token"]
    first = next(lines({"service": "watched", "resume_token": token}))
    assert first["result"]["type"] == "RESET", first


def check_events():
    """An event's id is where a later watch takes up."""
    doomed = register()
    for event in (stream := events({"service": "watched"})):
        assert event.get("id", "") == event["data"]["resume_token"], event
        if event["data"]["type"] == "SYNCED":
            break
    stream.close()
    deregister(doomed)

    resumed = list(events({"service": "watched"}, {"Last-Event-ID": event["id"]}))
    assert resumed[0]["data"]["type"] == "CHANGES", resumed
    assert [change["type"] for change in resumed[0]["data"]["events"]] == ["DEREGISTERED"], resumed
    assert "event" not in resumed[0], resumed
    assert resumed[-1]["event"] == "error", resumed
    assert resumed[-1]["data"]["error"]["code"] == 4, resumed


def check_refusals():
    for query, headers in [
        ({"resume_token": "no token"}, {}),
        ({"labels[]": "x"}, {}),
        ({"bookmark_interval": "90"}, {}),
        ({"service": "a\0b", "resume_token": "x"}, {"Accept": EVENTS}),
    ]:
        response = httpx.get(f"{BASE}{PATH}", params=query, headers=DEADLINE | headers)
        assert response.headers["content-type"] == JSON, (query, response.headers)
        body = response.json()
        DOCUMENT.answer_validator(WATCH, response.status_code).validate(body)
        code = body.get("error", body)["code"]
        assert (response.status_code, STATUS_OF_CODE[code]) == (400, 400), (query, response.text)


check_lines()
check_events()
check_refusals()
print("conforms")
