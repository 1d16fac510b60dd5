"""What the scripts about the OpenAPI document share: the document of a running server,
and validators of the schemas in it.
"""

import httpx
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

JSON = "application/json"
EVENTS = "text/event-stream"

# The HTTP status of each google.rpc.Code.
STATUS_OF_CODE = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429,
    9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip


class Document:
    """The document that a server shows of itself."""

    _URI = "urn:document"

    def __init__(self, base):
        response = httpx.get(f"{base}/openapi.json").raise_for_status()
        assert response.headers["content-type"] == JSON, response.headers
        self.content = response.json()
        resource = Resource(contents=self.content, specification=DRAFT202012)
        self._registry = Registry().with_resource(self._URI, resource)

    def operations(self):
        """Each operation object under the name that schemathesis gives it."""
        return {
            f"{method.upper()} {path}": operation
            for path, item in self.content["paths"].items()
            for method, operation in item.items()
        }

    def request_validator(self, label):
        """A validator of an operation's JSON body; None if it takes none."""
        method, path = label.split(" ")
        if "requestBody" not in self.content["paths"][path][method.lower()]:
            return None
        return self._validator("paths", path, method.lower(), "requestBody", "content", JSON, "schema")

    def answer_validator(self, label, status, media_type=JSON, *within):
        """A validator of what an operation answers with a status, or of a part of that."""
        method, path = label.split(" ")
        responses = self.content["paths"][path][method.lower()]["responses"]
        key = str(status) if str(status) in responses else "default"
        place = ["paths", path, method.lower(), "responses", key]
        if "$ref" in responses[key]:
            place = responses[key]["$ref"].removeprefix("#/").split("/")
        return self._validator(*place, "content", media_type, "schema", *within)

    def _validator(self, *place):
        escaped = (part.replace("~", "~0").replace("/", "~1") for part in place)
        return Draft202012Validator(
            {"$ref": f"{self._URI}#/{'/'.join(escaped)}"},
            registry=self._registry,
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
