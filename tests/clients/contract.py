"""What was said, held against /openapi.json: every reply, every event of a stream, and every JSON body that was accepted."""

import fnmatch
import json
import re

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from wire import Exchange

ROOT = "urn:openapi"


def media_type(headers: dict[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0]


def events_of(body: bytes) -> list[tuple[str, str]]:
    """The (event, data) of a stream of server-sent events; comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            names = dict(lines)
            assert list(names) in (["event", "data"], ["id", "event", "data"]), block
            found.append((names["event"], names["data"]))
    return found


def form_of(path: str) -> re.Pattern:
    return re.compile(re.sub(r"\\{\w+(\\\*)?\\}", ".+", re.escape(path)) + "$")


def aliases_of(item: dict) -> set[str]:
    return {alias for operation in item.values() for alias in re.findall(r"Also at `([^`]+)`", operation.get("description", ""))}


class Contract:
    def __init__(self, description: dict):
        self._description = description
        self._registry = Registry().with_resource(ROOT, Resource(contents=description, specification=DRAFT202012))
        # The path of each form that a target may have: its own, and those at which an operation says it is too.
        self._paths = [(form_of(each), path) for path, item in description["paths"].items() for each in (path, *aliases_of(item))]

    def check(self, exchange: Exchange) -> None:
        path = exchange.target.partition("?")[0]
        # A model's name may hold slashes, so that more than one may fit: the longest says most.
        fitting = [(form.pattern == re.escape(path) + "$", len(form.pattern), each) for form, each in self._paths if form.match(path)]
        template = max(fitting, default=(False, 0, None))[2]
        if exchange.method == "OPTIONS":
            assert 200 <= exchange.status < 300 and not exchange.body
        elif template is None:
            assert exchange.status in (401, 404), f"{exchange.method} {path} is answered, but nowhere described"
            self._validate(json.loads(exchange.body), "components", "schemas", "SdError" if path.startswith("/sdapi/") else "Error")
        else:
            self._check_operation(exchange, "paths", template, exchange.method.lower())

    def _check_operation(self, exchange: Exchange, *operation: str) -> None:
        status = str(exchange.status)
        if status not in self._at(*operation, "responses"):
            assert exchange.status >= 400, f"{operation} answers with {status}, which is not described"
            status = "default"
        if "content" not in self._at(*operation, "responses", status):
            assert not exchange.body, f"{operation} answers {status} with a body"
            return
        content = (*operation, "responses", status, "content")
        form = media_type(exchange.headers)
        schema = next((each for each in self._at(*content) if fnmatch.fnmatch(form, each)), None)
        assert schema, f"{operation} answers with {form}, which is not described"
        if form == "application/json":
            self._validate(json.loads(exchange.body), *content, schema, "schema")
        if form == "text/event-stream":
            event = self._at(*content, schema, "schema")["$ref"].split("/")[1:]
            for name, data in events_of(exchange.body):
                self._validate({"event": name, "data": data}, *event)
                self._validate(json.loads(data), *event, "properties", "data", "contentSchema")
                assert json.loads(data)["type"] == name
        if exchange.status == 200 and media_type(exchange.request_headers) == "application/json":
            self._validate(json.loads(exchange.request_body), *operation, "requestBody", "content", "application/json", "schema")

    def _at(self, *steps: str) -> dict:
        place = self._description
        for step in steps:
            place = place[step]
        return place

    def _validate(self, value, *steps: str) -> None:
        pointer = "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)
        validator = jsonschema.Draft202012Validator({"$ref": f"{ROOT}#/{pointer}"}, registry=self._registry)
        validator.validate(value)
