"""The requests of a storm: every route that the server's own description lists, with a body made from its schema. A new route is in the
storm by being in the table of routes."""

import base64
import collections
import dataclasses
import io
import json
import random
import re
import urllib.parse

from PIL import Image


def make_png() -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(file, "PNG")
    return file.getvalue()


PNG = make_png()
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
# Fields that stand in every body that knows them, so that a request is small, and how often others do.
ALWAYS = {"size", "width", "height", "num_inference_steps", "steps", "image", "init_images"}
KNOWN_SHARE, OTHER_SHARE, NONE_SHARE, REFERENCES_SHARE = 0.3, 0.02, 0.2, 0.25
KEYS = [f"key-{number}" for number in range(8)]


@dataclasses.dataclass(frozen=True)
class Route:
    method: str
    path: str  # "/v1/images/jobs/{id}"
    bodies: dict = dataclasses.field(default_factory=dict, hash=False)  # media type → schema
    parameters: tuple = ()  # of its header and its query, as the description has them

    def __str__(self):
        return f"{self.method} {self.path}"


def read_routes(description: dict) -> list[Route]:
    """Every method and path of /openapi.json, the second names too; HEAD where there is GET, and OPTIONS once a path."""
    routes = []
    for path, item in description["paths"].items():
        for method, operation in item.items():
            bodies = {media: content.get("schema", {}) for media, content in operation.get("requestBody", {}).get("content", {}).items()}
            parameters = tuple(p for p in operation.get("parameters", []) if p["in"] != "path")
            aliases = re.findall(r"Also at `([^`]+)`", operation.get("description", ""))
            for name in [path, *(alias.replace("*", "") for alias in aliases)]:
                methods = [method.upper(), "HEAD"] if method == "get" else [method.upper()]
                routes += [Route(each, name, bodies, parameters) for each in methods]
        routes.append(Route("OPTIONS", path))
    return routes


class Names:
    """What the server has named so far: later requests ask for it."""

    def __init__(self, models: list[str]):
        self.models = models
        self.jobs: collections.deque[str] = collections.deque(maxlen=64)
        self.pictures: collections.deque[str] = collections.deque(maxlen=64)

    def learn(self, body: bytes):
        text = body.decode("latin-1")
        self.jobs.extend(re.findall(r'"id":"(job_\w+)"', text)[:3])
        self.pictures.extend(re.findall(r"/images/(img_\w+\.\w+)", text)[:3])

    def fill(self, path: str, choose: random.Random) -> str:
        """The path with names for its parameters: mostly such as there are."""
        known = self.jobs if "/jobs" in path else self.pictures if "{file}" in path else self.models
        name = choose.choice(known) if known and choose.random() > NONE_SHARE else "none.png"
        return re.sub(r"\{\w+\}", name, path)


def known_value(name: str, names: Names, steps_max: int, choose: random.Random):
    """A value for the fields that decide what a request does; None: the name is not known."""
    known = {
        "prompt": lambda: choose.choice(["a kitten", "a red car at the beach", "x", "ein Kätzchen 🐈"]),
        "n": lambda: choose.choice([1, 1, 2]),
        "batch_size": lambda: choose.choice([1, 2]),
        "size": lambda: choose.choice(["64x64", "64x64", "128x64"]),
        "width": lambda: 64,
        "height": lambda: 64,
        "num_inference_steps": lambda: choose.randint(1, steps_max),
        "steps": lambda: choose.randint(1, steps_max),
        "stream": lambda: choose.random() < 0.7,
        "partial_images": lambda: choose.randint(0, 2),
        "background_job": lambda: choose.random() < 0.5,
        "response_format": lambda: choose.choice(["url", "b64_json"]),
        "output_format": lambda: choose.choice(["png", "jpeg", "webp"]),
        "model": lambda: choose.choice(names.models),
        "image": lambda: DATA_URL,
        "init_images": lambda: [DATA_URL],
        "mask": lambda: DATA_URL,
        "sd_model_checkpoint": lambda: choose.choice(names.models),
    }
    return known[name]() if name in known else None


def schema_value(schema: dict, choose: random.Random):
    """Something that the schema allows, roughly."""
    if "anyOf" in schema:
        return schema_value(choose.choice(schema["anyOf"]), choose)
    if "enum" in schema:
        return choose.choice(schema["enum"])
    types = schema.get("type", "string")
    kind = choose.choice(types) if isinstance(types, list) else types
    low = schema.get("minimum", 0)
    high = max(low, min(schema.get("maximum", 8), low + 8))
    makers = {
        "boolean": lambda: choose.random() < 0.5,
        "integer": lambda: choose.randint(int(low), int(high)),
        "number": lambda: choose.uniform(low, high),
        "string": lambda: "x" * choose.randint(schema.get("minLength", 0), 12),
        "array": lambda: [schema_value(schema.get("items", {}), choose)],
        "object": lambda: {name: schema_value(inner, choose) for name, inner in list(schema.get("properties", {}).items())[:2]},
    }
    return makers.get(kind, lambda: None)()


def make_fields(schema: dict, names: Names, steps_max: int, choose: random.Random) -> dict:
    fields = {}
    for name, inner in schema.get("properties", {}).items():
        value = known_value(name, names, steps_max, choose)
        if name in schema.get("required", []) or (value is not None and (name in ALWAYS or choose.random() < KNOWN_SHARE)):
            fields[name] = value if value is not None else schema_value(inner, choose)
        elif choose.random() < OTHER_SHARE:
            fields[name] = schema_value(inner, choose)
    return fields


def write_form(fields: dict, choose: random.Random) -> tuple[str, bytes]:
    """multipart/form-data; what is a picture goes as a file, now and then with others to go by."""
    parts = []
    for name, value in fields.items():
        head, count = f'name="{name}"', 1
        if name in ("image", "mask"):
            data = PNG
            count = choose.choice([2, 3]) if name == "image" and choose.random() < REFERENCES_SHARE else 1
            head = f'name="{name}{"[]" if count > 1 else ""}"; filename="{name}.png"'
        else:
            data = (value if isinstance(value, str) else json.dumps(value)).encode()
        parts += [f"--storm\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"] * count
    return "multipart/form-data; boundary=storm", b"".join(parts) + b"--storm--\r\n"


def make_body(route: Route, names: Names, steps_max: int, choose: random.Random) -> tuple[str, bytes]:
    if not route.bodies:
        return "", b""
    media = choose.choice(sorted(route.bodies))
    fields = make_fields(route.bodies[media], names, steps_max, choose)
    return write_form(fields, choose) if media.startswith("multipart/") else (media, json.dumps(fields).encode())


def make_parameters(route: Route, choose: random.Random) -> tuple[dict, dict]:
    """Headers and query, each parameter in some of the requests."""
    known = {"X-Request-Timeout": lambda: choose.choice(["0.001", "0.05", "5"]), "Prefer": lambda: "respond-async",
             "Idempotency-Key": lambda: choose.choice(KEYS), "Accept": lambda: "image/webp", "Last-Event-ID": lambda: "1.3"}
    made: dict[str, dict] = {"header": {}, "query": {}}
    for parameter in route.parameters:
        if choose.random() < 0.2:
            value = known.get(parameter["name"], lambda: schema_value(parameter["schema"], choose))()
            made[parameter["in"]][parameter["name"]] = str(value)
    return made["header"], made["query"]


def make_request(route: Route, names: Names, steps_max: int, choose: random.Random, extra: dict[str, str]) -> bytes:
    """The bytes of one request. A longer one now and then, so that clients leave in the middle of its work."""
    steps_max = 20 * steps_max if choose.random() < 0.05 else steps_max
    media, body = make_body(route, names, steps_max, choose)
    headers, query = make_parameters(route, choose)
    headers = {"Host": "localhost", **headers, **extra}
    if route.bodies or body:
        headers |= {"Content-Type": media, "Content-Length": str(len(body))}
    target = names.fill(route.path, choose) + ("?" + urllib.parse.urlencode(query) if query else "")
    lines = [f"{route.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
