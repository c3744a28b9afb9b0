"""The programs a storm goes over, each started on a free port and watched: what it writes, what it holds, how it ends."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import cluster  # noqa: E402

# What a sanitizer or the server says of a fault of its own; a client's mistake is no line of the log.
FAULTS = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:|terminate called|CHECK failed|[a-z]+_fault\b")
LINE_MAX, LINES_MAX = 300, 80  # of what is shown of it
END_SECONDS = 60
WORKER_MODEL, REFERENCE_MODEL = "StableDiffusionPAGPipeline", "distilled"
SANITIZERS = {"TSAN_OPTIONS": f"halt_on_error=1:suppressions={ROOT}/tests/tsan.supp", "ASAN_OPTIONS": "detect_odr_violation=0",
              "UBSAN_OPTIONS": "print_stacktrace=1"}


@dataclasses.dataclass
class Figures:
    """What a server holds; at rest all but the last two are nothing."""

    exchanges: float
    connections: float
    waiting: float
    running: float
    descriptors: int
    resident_mb: float

    @property
    def at_rest(self) -> bool:
        # Whoever asks has a connection and an exchange.
        return self.exchanges <= 1 and self.connections <= 1 and self.waiting + self.running == 0


class Program:
    def __init__(self, command: list[str], tls: ssl.SSLContext | None = None, headers: dict[str, str] | None = None):
        self.tls, self.headers, self.told_to_end = tls, headers or {}, False
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                        env={**os.environ, **SANITIZERS})
        self.log: list[str] = []
        self.listener = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.listener.start()
        port = None
        for line in self.process.stdout:
            if match := re.match(r"listening on https?://\S+:(\d+)", line):
                port = int(match[1])
                break
        if port is None:
            raise RuntimeError(f"{command[0]} did not start: {''.join(self.log)[-2000:]}")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.address = ("127.0.0.1", port)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def get(self, path: str) -> str:
        url = f"{'https' if self.tls else 'http'}://localhost:{self.address[1]}{path}"
        request = urllib.request.Request(url, headers={**self.headers, "Connection": "close"})
        with urllib.request.urlopen(request, timeout=30, context=self.tls) as reply:
            return reply.read().decode()

    def figures(self) -> Figures:
        text = self.get("/metrics")

        def total(name: str, labels: str = "") -> float:
            return sum(float(value) for value in re.findall(rf"^{name}{labels}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        background = total("diffused_background_jobs")
        return Figures(total("diffused_http_exchanges"), total("diffused_http_connections"), total("diffused_requests_waiting") + background,
                       total("diffused_requests_running"), len(os.listdir(f"/proc/{self.process.pid}/fd")),
                       int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024)

    def rest(self, seconds: float) -> Figures:
        """Waits until nothing is held any more; the figures then, or the last ones."""
        until = time.monotonic() + seconds
        while not (figures := self.figures()).at_rest and time.monotonic() < until:
            time.sleep(0.1)
        return figures

    def faults(self) -> str:
        """What it wrote from the first fault on."""
        self.listener.join(5 if not self.alive else 0)
        lines = [line[:LINE_MAX] for line in self.log]
        first = next((number for number, line in enumerate(lines) if FAULTS.search(line)), None)
        return "" if first is None else "\n".join(lines[first:][:LINES_MAX])

    def tell_to_end(self):
        """Once: a second signal would end it at once."""
        if self.alive and not self.told_to_end:
            self.process.send_signal(signal.SIGTERM)
        self.told_to_end = True

    def end(self) -> str:
        """Has it end in order. What was wrong about that; nothing when nothing was."""
        self.tell_to_end()
        try:
            status = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return f"it has not ended in {END_SECONDS} s"
        return "" if status == 0 else f"it ended with status {status}: {self.faults() or ''.join(self.log)[-2000:]}"


@contextlib.contextmanager
def running(*arguments, **options):
    program = Program(*arguments, **options)
    try:
        yield program
    finally:
        if program.alive:
            program.process.kill()
        program.process.wait(30)


def make_certificate(folder: pathlib.Path) -> tuple[list[str], ssl.SSLContext]:
    """Options for a server, and what its clients need."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
                   check=True, capture_output=True)
    return ["--tls-cert", str(certificate), "--tls-key", str(key)], ssl.create_default_context(cafile=str(certificate))


@contextlib.contextmanager
def stub(build: pathlib.Path, folder: pathlib.Path, tls: bool = False):
    """The server on a pipeline that only sleeps: no torch, so that it runs under the sanitizers."""
    options, context = make_certificate(folder) if tls else ([], None)
    command = [str(build / "stub_server"), "--data-dir", str(folder / "data"), "--step-ms", "2", *options]
    with running(command, tls=context) as program:
        yield program


@contextlib.contextmanager
def real(build: pathlib.Path, folder: pathlib.Path, tls: bool = False):
    """The program with the demo model, behind keys."""
    options, context = make_certificate(folder) if tls else ([], None)
    made = subprocess.run([str(build / "diffused"), "key", "storm"], capture_output=True, text=True, check=True)
    (folder / "keys").write_text(made.stdout)
    command = [str(build / "diffused"), "serve", str(ROOT / "models/demo"), "--port", "0", "--data-dir", str(folder / "data"), "--api-keys",
               str(folder / "keys"), *options]
    with running(command, tls=context, headers={"Authorization": f"Bearer {made.stderr.split()[-1]}"}) as program:
        yield program


@contextlib.contextmanager
def many(build: pathlib.Path, folder: pathlib.Path, tls: bool = False):
    """The program with a native model, one that takes pictures to go by, and one in a process of Diffusers, all tiny."""
    options, context = make_certificate(folder) if tls else ([], None)
    for tool, kind in (("worker_folders", WORKER_MODEL), ("flux2_folders", REFERENCE_MODEL)):
        code = f"import sys, pathlib, {tool}; {tool}.build_folder(pathlib.Path(sys.argv[1]), {kind!r})"
        subprocess.run([sys.executable, "-c", code, str(folder / kind)], cwd=ROOT / "tools/golden", check=True)
    models = [f"demo={ROOT / 'models/demo'}", f"references={folder / REFERENCE_MODEL}", f"worker={folder / WORKER_MODEL}"]
    command = [str(build / "diffused"), "serve", *models, "--port", "0", "--data-dir", str(folder / "data"), "--python", sys.executable, *options]
    with running(command, tls=context) as program:
        yield program


@contextlib.contextmanager
def gateway(build: pathlib.Path, folder: pathlib.Path, tls: bool = False):
    """A gateway before a stub on a PostgreSQL of their own."""
    options, context = make_certificate(folder) if tls else ([], None)
    with cluster.cluster("fsync = off") as database:
        (folder / "blobs").mkdir()
        shared = ["--store", database.url, "--blobs", str(folder / "blobs"), "--data-dir", str(folder / "data")]
        with running([str(build / "stub_server"), "--step-ms", "2", *shared]) as worker:
            command = [str(build / "diffused-gateway"), "--port", "0", "--role", "gateway", *shared, *options]
            with running(command, tls=context) as program:
                yield program
                wrong = worker.end()
                assert not wrong, wrong


PROGRAMS = {"stub": stub, "real": real, "many": many, "gateway": gateway}
