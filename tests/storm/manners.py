"""The ways in which a client of the storm behaves, one function each. It is given its case, and raises Wrong for an answer that no
server may give; that a connection ends is an answer only where the client left first or the server was told to end."""

import asyncio
import collections
import contextlib
import dataclasses
import random
import ssl

from routes import Names, Route, make_request
from wire import READ_BYTES, Answer, Reader, Wire, Wrong

LEAVE_SECONDS = 0.6  # a client is gone this long after its request at the latest
# What a server may say when it is asked too much, or of a job or a picture that is gone; 500 is a fault of its own.
FAULTS = {500, 501, 502}


@dataclasses.dataclass
class Site:
    """What clients of one server share."""

    address: tuple[str, int]
    routes: list[Route]
    names: Names
    headers: dict[str, str]
    steps_max: int
    tls: ssl.SSLContext | None = None
    statuses: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)  # of answers that were read


@dataclasses.dataclass
class Case:
    """One client of the storm: all of it follows from the seed and the number, but for the names that the server has given."""

    site: Site
    route: Route
    round: int  # how often this route has been taken in this way before
    choose: random.Random

    def request(self, **extra: str) -> bytes:
        return make_request(self.route, self.site.names, self.site.steps_max, self.choose, {**self.site.headers, **extra})

    async def open(self, receive_bytes: int = 0) -> Wire:
        return await Wire.open(self.site.address, self.site.tls, receive_bytes)

    def by_reset(self) -> bool:
        return self.choose.random() < 0.5

    def seconds(self) -> float:
        """As often close to nothing as long."""
        return self.choose.choice([0.0, self.choose.uniform(0, 0.02), self.choose.uniform(0, LEAVE_SECONDS)])

    def look_at(self, answer: Answer) -> Answer:
        self.site.statuses[answer.status] += 1
        if answer.status in FAULTS:
            raise Wrong(f"{answer.status}: {answer.body[:300]!r}")
        self.site.names.learn(answer.body)
        return answer


async def stay(case: Case):
    """Reads the whole answer, and asks again on the same connection."""
    wire = await case.open()
    reader = Reader(wire)
    try:
        for _ in range(case.choose.randint(1, 3)):
            await wire.send(case.request())
            if case.look_at(await reader.answer(case.route.method)).ends_connection:
                break
    finally:
        wire.leave(by_reset=False)


async def leave(case: Case):
    """Sends the request and is gone before or within the answer, 0 to 600 ms later."""
    wire = await case.open()
    try:
        await wire.send(case.request())
        await asyncio.sleep(case.seconds())
    finally:
        wire.leave(case.by_reset())


async def cut(case: Case):
    """Is gone after some bytes of the request: another number each time, so that every one comes."""
    wire = await case.open()
    try:
        request = case.request()
        await wire.send(request[: case.round % (len(request) + 1)])
        await asyncio.sleep(case.choose.choice([0.0, 0.0, 0.02]))
    finally:
        wire.leave(case.by_reset())


async def sip(case: Case):
    """Is gone after some bytes of the answer: another number each time."""
    wire = await case.open()
    try:
        await wire.send(case.request())
        wanted = 1 + case.round % 700
        while wanted > 0 and (data := await wire.receive_within(LEAVE_SECONDS, wanted)):
            wanted -= len(data)
    finally:
        wire.leave(case.by_reset())


async def half_close(case: Case):
    """Says that nothing more will come, and reads on."""
    wire = await case.open()
    try:
        await wire.send(case.request())
        wire.half_close()
        await Reader(wire).to_the_end()
    finally:
        wire.leave(by_reset=False)


async def read_slowly(case: Case):
    """Takes a few bytes at a time into a small buffer, and perhaps no more from some moment on."""
    wire = await case.open(receive_bytes=1024)
    try:
        await wire.send(case.request())
        for _ in range(case.choose.randint(1, 12)):
            if not await wire.receive_within(LEAVE_SECONDS, case.choose.choice([1, 100, 4096])):
                break
            await asyncio.sleep(case.choose.uniform(0, 0.1))
        await asyncio.sleep(case.seconds())
    finally:
        wire.leave(case.by_reset())


async def write_slowly(case: Case):
    """Sends the request in pieces."""
    wire = await case.open()
    try:
        request = case.request()
        while request:
            size = case.choose.randint(1, 1 + len(request) // 2)
            await wire.send(request[:size])
            request = request[size:]
            await asyncio.sleep(case.choose.choice([0.0, 0.001]))
        await asyncio.sleep(case.seconds())
    finally:
        wire.leave(case.by_reset())


async def hurry(case: Case):
    """Gives the request less time than it needs, and reads the answer."""
    wire = await case.open()
    try:
        await wire.send(case.request(**{"X-Request-Timeout": f"{case.choose.choice([1e-6, 0.001, 0.01, 0.1]):.6f}"}))
        case.look_at(await Reader(wire).answer(case.route.method))
    finally:
        wire.leave(by_reset=False)


async def cancel(case: Case):
    """Asks, and while that goes on has everything cancelled that has a name; then reads on."""
    wire = await case.open()
    other = await case.open()
    try:
        await wire.send(case.request())
        await asyncio.sleep(case.seconds() / 4)
        for route in (Route("POST", "/v1/images/jobs/{id}/cancel"), Route("POST", "/sdapi/v1/interrupt"), Route("DELETE", "/v1/images/jobs/{id}")):
            await other.send(make_request(route, case.site.names, 1, case.choose, {**case.site.headers, "Content-Length": "0"}))
        if case.choose.random() < 0.5:
            case.look_at(await Reader(wire).answer(case.route.method))
    finally:
        wire.leave(case.by_reset())
        other.leave(case.by_reset())


async def pipeline(case: Case):
    """Sends several requests at once and is gone within their answers."""
    wire = await case.open()
    try:
        await wire.send(b"".join(case.request() for _ in range(case.choose.randint(2, 4))))
        for _ in range(case.choose.randint(0, 2)):
            await wire.receive_within(LEAVE_SECONDS, case.choose.choice([1, READ_BYTES]))
        await asyncio.sleep(case.seconds() / 4)
    finally:
        wire.leave(case.by_reset())


async def garble(case: Case):
    """Sends the request with some bytes changed, left out or added, and reads what comes for a while."""
    wire = await case.open()
    try:
        request = bytearray(case.request())
        for _ in range(case.choose.randint(1, 4)):
            place = case.choose.randrange(len(request))
            request[place:place + case.choose.randint(0, 2)] = case.choose.choice([b"", b"\0", b"\r\n", b"}", bytes(case.choose.randbytes(2))])
        await wire.send(bytes(request))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Reader(wire).to_the_end(), LEAVE_SECONDS)
    finally:
        wire.leave(case.by_reset())


MANNERS = [stay, leave, cut, sip, half_close, read_slowly, write_slowly, hurry, cancel, pipeline, garble]
# The others may see the connection end under them without fault of the server.
EXPECT_AN_ANSWER = {stay, hurry, cancel}
