"""A stand-in for a Hugging Face hub: the three calls that a download needs, and what goes wrong with them."""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
import time

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secret"


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclasses.dataclass
class Seen:
    """A request that came."""

    where: str  # "hub" or "cdn"
    method: str
    path: str
    headers: dict


class Hub:
    """`files` are one repository's, name to bytes; those that end in .safetensors lie on the other server, as large files
    do. `faults` are names of files to lists of what happens to requests for their bytes, one after the other:
    ("status", code), ("cut", bytes), ("swap", bytes), ("more", bytes), ("whole",) where Range is ignored, ("stall",)."""

    def __init__(self, repo: str, files: dict[str, bytes]):
        self.repo, self.files = repo, files
        self.revisions = {"main": COMMIT, COMMIT: COMMIT}
        self.faults: dict[str, list[tuple]] = {}
        self.token: str | None = None  # asked for, when set
        self.refuse: tuple | None = None  # (status, error code) of every call
        self.listing_faults: list[int] = []  # statuses of the next calls for the list
        self.extra_listed: list[str] = []
        self.bare_listing = False  # neither sizes nor hashes
        self.seen: list[Seen] = []
        self.url = self.cdn_url = ""

    def is_large(self, name):
        return name.endswith(".safetensors")

    def digest(self, name):
        data = self.files[name]
        return hashlib.sha256(data).hexdigest() if self.is_large(name) else git_blob(data)

    def listing(self):
        siblings = []
        for name, data in self.files.items():
            entry = {"rfilename": name}
            if not self.bare_listing:
                entry |= {"size": len(data), "blobId": git_blob(data)}
                if self.is_large(name):
                    entry |= {"blobId": git_blob(b"pointer"), "lfs": {"sha256": self.digest(name), "size": len(data), "pointerSize": 134}}
            siblings.append(entry)
        siblings += [{"rfilename": name, "size": 1, "blobId": git_blob(b"x")} for name in self.extra_listed]
        return {"id": self.repo, "sha": COMMIT, "siblings": siblings}

    def gets(self, name, where=None):
        """Requests for the bytes of a file."""
        return [seen for seen in self.seen if seen.method == "GET" and seen.path.endswith("/" + name) and where in (None, seen.where)]

    def bytes_were_asked_for(self):
        return [seen.path for seen in self.seen if "/resolve/" in seen.path and seen.method == "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    where: str

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.hub.seen.append(Seen(self.where, self.command, self.path, dict(self.headers)))
        if self.where == "cdn":
            return self.send_bytes(self.path.removeprefix("/"))
        if self.hub.refuse:
            return self.send_status(*self.hub.refuse)
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.send_status(401, "RepoNotFound")
        if match := re.fullmatch(rf"/api/models/{self.hub.repo}/revision/([^?]+)\?blobs=true", self.path):
            return self.send_listing(match[1].replace("%2F", "/"))
        if match := re.fullmatch(rf"/{self.hub.repo}/resolve/{COMMIT}/(.+)", self.path):
            return self.resolve(match[1])
        self.send_status(404, "RepoNotFound")

    def send_status(self, status, code=None, **headers):
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_listing(self, revision):
        if self.hub.listing_faults:
            return self.send_status(self.hub.listing_faults.pop(0), Retry_After="0")
        if revision not in self.hub.revisions:
            return self.send_status(404, "RevisionNotFound")
        body = json.dumps(self.hub.listing()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def resolve(self, name):
        if name not in self.hub.files:
            return self.send_status(404, "EntryNotFound")
        if not self.hub.is_large(name):
            return self.send_bytes(name)
        self.send_status(302, Location=f"{self.hub.cdn_url}/{name}", X_Repo_Commit=COMMIT, X_Linked_Etag=f'"{self.hub.digest(name)}"',
                         X_Linked_Size=str(len(self.hub.files[name])))

    def send_bytes(self, name):
        data = self.hub.files[name]
        faults = self.hub.faults.get(name)
        fault = faults.pop(0) if faults and self.command == "GET" else ("none",)
        if fault[0] == "status":
            return self.send_status(fault[1], Retry_After="0")
        if fault[0] in ("swap", "more"):
            data = fault[1] if fault[0] == "swap" else data + fault[1]
        begin = 0
        if (asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) and fault[0] != "whole":
            begin = int(asked[1])
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{self.hub.digest(name)}"')
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault[0] in ("cut", "stall"):
            self.wfile.write(data[begin : fault[1]])
            self.wfile.flush()
            if fault[0] == "stall":
                time.sleep(3)
            self.close_connection = True
            return
        with contextlib.suppress(ConnectionError):  # a client that has had enough
            self.wfile.write(data[begin:])


@contextlib.contextmanager
def running(repo, files):
    """A hub and the server of its large files, on ports of their own."""
    hub = Hub(repo, files)
    servers = []
    for where in ("hub", "cdn"):
        handler = type("Bound", (Handler,), {"hub": hub, "where": where})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
