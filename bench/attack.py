"""`./dev bench attack`: an honest client's small pictures and /livez while others misbehave, and what memory it takes.

Each kind of attack is played by three clients at once, each with a key of its own, alone and then all kinds together. Everything stays on
loopback, is bounded in time and ends its servers. Kinds can be chosen: `./dev bench attack values stopped_uploads`.
"""
# builds: diffused

import argparse
import asyncio
import base64
import contextlib
import functools
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

import aiohttp

import load
import picture

HONEST = {"model": "demo", "prompt": "a red kitten", "size": "64x64", "num_inference_steps": 20, "guidance_scale": 4.0, "seed": 1,
          "response_format": "b64_json"}
PIECE = bytes(1 << 20)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache
def png(width: int, height: int, *, grey: bool = False, text: tuple[bytes, ...] = ()) -> bytes:
    """A picture of one colour, which takes few bytes however large it is."""
    row = b"\0" + bytes(width * (1 if grey else 3)) if not grey else b"\0" + b"\xff" * width
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if grey else 2, 0, 0, 0)
    texts = b"".join(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(piece, 9)) for piece in text)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + texts + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Attacker:
    """One misbehaving client: asks again as soon as it is answered, until it is cancelled."""

    def __init__(self, address: str, key: str):
        self.address = address
        self.host, self.port = address.split("//")[1].split(":")
        self.key = key
        self.statuses: dict[int, int] = {}
        self.began = asyncio.Event()

    async def post(self, path: str, body: bytes, kind: str = "application/json", **headers: str) -> None:
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            sent = {"Content-Type": kind, "Authorization": f"Bearer {self.key}", **headers}
            self.began.set()
            try:
                async with session.post(self.address + path, data=body, headers=sent) as reply:
                    await reply.read()
                    status = reply.status
            except aiohttp.ClientError:
                status = 0
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status in (0, 429, 503):
            await asyncio.sleep(0.2)  # five times as often as it is asked to

    async def hold(self, head: bytes, zeros: int) -> None:
        """Sends the head and so many bytes of a body, which are not all of it, and waits to be answered."""
        try:
            reader, writer = await asyncio.open_connection(self.host, int(self.port))
        except OSError:
            self.statuses[0] = self.statuses.get(0, 0) + 1
            return
        self.began.set()
        try:
            writer.write(head)
            with contextlib.suppress(ConnectionError):
                for begin in range(0, zeros, len(PIECE)):
                    writer.write(PIECE[:zeros - begin])
                    await writer.drain()
            line = await asyncio.wait_for(reader.readline(), 120)
            status = int(line.split()[1]) if line.startswith(b"HTTP/") else 0
            self.statuses[status] = self.statuses.get(status, 0) + 1
            await asyncio.sleep(0.2)
        except (asyncio.TimeoutError, ConnectionError):
            self.statuses[0] = self.statuses.get(0, 0) + 1
        finally:
            writer.close()

    def head(self, path: str, length: int, kind: str = "application/json") -> bytes:
        return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.key}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {length}\r\n\r\n").encode()


def form(fields: dict[str, bytes], boundary: str = "edge") -> bytes:
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n" for name, value in fields.items()]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


# What each kind sends, made once. Each is one request after the other, several at a time where that is what hurts.

async def values(attacker: Attacker) -> None:
    """A body of 39 MB of empty objects."""
    body = b'{"prompt":"x","image":[' + b"{}," * 13_000_000 + b"{}]}"
    while True:
        await attacker.post("/v1/images/edits", body)


async def numbers(attacker: Attacker) -> None:
    """A body of 60 MB of zeros."""
    body = b'{"prompt":"x","image":[' + b"0," * 30_000_000 + b"0]}"
    while True:
        await attacker.post("/v1/images/edits", body)


async def large_json(attacker: Attacker) -> None:
    """Sixteen bodies of 1 MiB at a time, on a route whose bodies are small."""
    body = b'{"prompt":"x","ignored":[' + b"0," * 500_000 + b"0]}"

    async def one() -> None:
        while True:
            await attacker.post("/v1/images/generations", body)

    await asyncio.gather(*(one() for _ in range(16)))


async def masked(attacker: Attacker) -> None:
    """Twenty-four edits of a 49-megapixel picture, of which only the masked part is made."""
    body = json.dumps({"prompt": "x", "init_images": [encoded(png(7000, 7000))], "mask": encoded(png(7000, 7000, grey=True)), "steps": 20,
                       "width": 64, "height": 64, "mask_blur": 0, "inpaint_full_res": 1}).encode()

    async def one() -> None:
        while True:
            await attacker.post("/sdapi/v1/img2img", body)

    await asyncio.gather(*(one() for _ in range(24)))


async def soft_masks(attacker: Attacker) -> None:
    """A mask of 49 megapixels with the widest soft edge."""
    body = json.dumps({"prompt": "x", "init_images": [encoded(png(7000, 7000))], "mask": encoded(png(7000, 7000, grey=True)), "steps": 1,
                       "width": 64, "height": 64, "mask_blur": 64}).encode()
    while True:
        await attacker.post("/sdapi/v1/img2img", body)


async def large_pictures(attacker: Attacker) -> None:
    """Ten edits of 25-megapixel pictures at a time."""
    body = form({"prompt": b"x", "image": png(5000, 5000), "size": b"64x64", "num_inference_steps": b"20"})

    async def one() -> None:
        while True:
            await attacker.post("/v1/images/edits", body, "multipart/form-data; boundary=edge")

    await asyncio.gather(*(one() for _ in range(10)))


async def folded_text(attacker: Attacker) -> None:
    """A PNG of 130 kB whose text unfolds to 128 MB of control bytes."""
    body = json.dumps({"image": encoded(png(1, 1, text=(b"\1" * ((1 << 20) - 64),) * 126))}).encode()
    while True:
        await attacker.post("/sdapi/v1/png-info", body)


async def stopped_uploads(attacker: Attacker) -> None:
    """Thirty-two uploads of 64 MB that stop before their last byte."""
    size = 64 << 20

    async def one() -> None:
        while True:
            await attacker.hold(attacker.head("/v1/images/edits", size), size - 1)

    await asyncio.gather(*(one() for _ in range(32)))


async def boundaries(attacker: Attacker) -> None:
    """A form under an Idempotency-Key whose boundary is a letter that its text is full of."""
    body = form({"prompt": b"a" * 600_000, "n": b"0"}, "a")
    number = 0
    while True:
        number += 1
        await attacker.post("/v1/images/edits", body, "multipart/form-data; boundary=a", **{"Idempotency-Key": f"{attacker.key}-{number}"})


async def long_units(attacker: Attacker) -> None:
    """Pictures as large as are taken: 2048, 1024 and 512 pixels a side, in turn."""
    while True:
        for side in (2048, 1024, 512):
            await attacker.post("/v1/images/generations", json.dumps({**HONEST, "size": f"{side}x{side}"}).encode())


async def slow_readers(attacker: Attacker) -> None:
    """Sixty-four answers of several megabytes, asked for and not read."""
    body = json.dumps({**HONEST, "size": "512x512", "n": 4, "num_inference_steps": 1}).encode()

    async def one() -> None:
        while True:
            reader, writer = await asyncio.open_connection(attacker.host, int(attacker.port), limit=1024)
            attacker.began.set()
            writer.write(attacker.head("/v1/images/generations", len(body)) + body)
            await asyncio.sleep(60)
            writer.close()
            del reader

    await asyncio.gather(*(one() for _ in range(64)))


async def guesses(attacker: Attacker) -> None:
    """Wrong keys, as fast as they are answered, on 32 connections."""

    async def one() -> None:
        while True:
            await attacker.post("/v1/images/generations", b"{}", Authorization="Bearer sk-guess")

    await asyncio.gather(*(one() for _ in range(32)))


KINDS = {kind.__name__: kind for kind in (values, numbers, large_json, masked, soft_masks, large_pictures, folded_text, stopped_uploads, boundaries,
                                          long_units, slow_readers, guesses)}


class Peak:
    """The most resident memory that a process is seen with, looked at fifty times a second."""

    def __init__(self, pid: int):
        self.pid, self.mb = pid, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(OSError, RuntimeError):
                self.mb = max(self.mb, picture.resident_mb(self.pid))

    def end(self) -> float:
        self._stop.set()
        self._thread.join()
        return self.mb


async def probe(address: str, latencies: list[float]) -> None:
    """Asks /livez twenty times a second, each time on a fresh connection."""
    while True:
        started = time.perf_counter()
        with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session, session.get(f"{address}/livez") as reply:
                await reply.read()
            latencies.append(time.perf_counter() - started)
        await asyncio.sleep(0.05)


async def honest(address: str, key: str, seconds: float, outcome: load.Outcome) -> None:
    """One small picture after the other; what is refused is asked for again after the time that was told."""
    until = time.perf_counter() + seconds
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}, timeout=aiohttp.ClientTimeout(total=300)) as session:
        while time.perf_counter() < until:
            await load.post(session, address, HONEST, outcome)


def attackers_main(arguments: argparse.Namespace) -> None:
    """The attackers, in a process of their own that comes last on the machine's cores: they stand for other machines."""
    os.nice(5)

    async def attack() -> None:
        kinds = [(KINDS[name], key) for name in arguments.kinds for key in json.loads(os.environ["ATTACK_KEYS"])]
        attackers = [Attacker(arguments.attack, key) for _, key in kinds]
        tasks = [asyncio.create_task(kind(attacker)) for (kind, _), attacker in zip(kinds, attackers)]
        await asyncio.gather(*(attacker.began.wait() for attacker in attackers))
        print("under attack", flush=True)
        await asyncio.wait(tasks, timeout=arguments.seconds)
        statuses: dict[int, int] = {}
        for attacker in attackers:
            for status, count in attacker.statuses.items():
                statuses[status] = statuses.get(status, 0) + count
        print(json.dumps(statuses), flush=True)
        os._exit(0)

    asyncio.run(attack())


def run_attack(address: str, kinds: list[str], keys: list[str], seconds: float) -> subprocess.Popen:
    command = [sys.executable, __file__, *kinds, "--attack", address, "--seconds", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "ATTACK_KEYS": json.dumps(keys)})


def ended(attack: subprocess.Popen) -> str:
    """What the attackers were answered, by status."""
    try:
        return attack.communicate(timeout=60)[0].strip()
    except subprocess.TimeoutExpired:
        attack.kill()
        attack.communicate()
        return "still busy"


def measure(address: str, key: str, seconds: float) -> tuple[load.Outcome, list[float]]:
    outcome, livez = load.Outcome(), []

    async def both() -> None:
        prober = asyncio.create_task(probe(address, livez))
        await honest(address, key, seconds, outcome)
        prober.cancel()

    asyncio.run(both())
    return outcome, livez


def describe(name: str, outcome: load.Outcome, livez: list[float], alone: float, memory: float, told: str = "") -> str:
    p99 = load.percentile(outcome.latencies, 0.99)
    return (f"{name:<16} {len(outcome.latencies):>4} pictures, p50 {load.percentile(outcome.latencies, 0.5):>6.2f} s, p99 {p99:>6.2f} s"
            f" = {p99 / alone:>5.2f} x alone; /livez p50 {1000 * load.percentile(livez, 0.5):>6.1f} ms p99 {1000 * load.percentile(livez, 0.99):>7.1f} ms"
            f" worst {1000 * max(livez, default=0):>7.1f} ms; memory {memory:>6.0f} MB; honest {outcome.statuses}"
            f"{f' broken {outcome.errors}' if outcome.errors else ''}{f'; attackers {told}' if told else ''}")


@contextlib.contextmanager
def served(model: str, attackers: int, options: list[str]):
    """The program with a key for the honest client and one for each attacker; yields its process, its address and the keys."""
    with tempfile.TemporaryDirectory() as folder:
        keys, lines = [], []
        for name in ("honest", *(f"attacker{i}" for i in range(attackers))):
            output = subprocess.run([str(picture.PROGRAM), "key", name], capture_output=True, text=True, check=True)
            lines.append(output.stdout.strip())
            keys.append(next(word for word in output.stderr.split() if word.startswith("sk-")))
        key_file = pathlib.Path(folder, "keys.txt")
        key_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [str(picture.PROGRAM), "serve", model, "--port", "0", "--data-dir", folder, "--api-keys", str(key_file), "--log-level", "error",
                   "--drain-timeout", "1", *options]
        with load.server(command, picture.READY_OURS) as (process, address):
            yield process, address, keys


def one_kind(arguments: argparse.Namespace, name: str, kinds: list[str]) -> None:
    with served(arguments.model, arguments.attackers, arguments.option) as (process, address, keys):
        measure(address, keys[0], 3)  # warms up
        outcome, livez = measure(address, keys[0], arguments.seconds / 2)
        alone, before = load.percentile(outcome.latencies, 0.99), picture.resident_mb(process.pid)
        print(describe(f"{name}: alone", outcome, livez, alone, before), flush=True)
        peak = Peak(process.pid)
        attack = run_attack(address, kinds, keys[1:], arguments.seconds + 5)
        attack.stdout.readline()  # all of them have begun
        outcome, livez = measure(address, keys[0], arguments.seconds)
        told = ended(attack)
        alive = process.poll() is None
        print(describe(name, outcome, livez, alone, peak.end() - before, told) + ("" if alive else "; the server is DEAD"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=[*KINDS, "all"], help=f"of {', '.join(KINDS)}, all")
    parser.add_argument("--model", default="models/demo")
    parser.add_argument("--size", default=HONEST["size"], help="of the honest client's pictures")
    parser.add_argument("--attackers", type=int, default=3, help="of each kind")
    parser.add_argument("--program", type=pathlib.Path, default=picture.PROGRAM, help="another build, to compare with")
    parser.add_argument("--seconds", type=float, default=20, help="how long each kind is played")
    parser.add_argument("--option", action="append", default=[], help="one for the server, such as --option=--memory-max=2GiB")
    parser.add_argument("--attack", help=argparse.SUPPRESS)  # the address: this process is the attackers
    arguments = parser.parse_args()
    if arguments.attack:
        return attackers_main(arguments)
    picture.PROGRAM = arguments.program
    HONEST["size"] = arguments.size
    print(load.machine())
    for kind in arguments.kinds:
        one_kind(arguments, kind, list(KINDS) if kind == "all" else [kind])
    return None


if __name__ == "__main__":
    main()
