"""A client's end of one connection, which can be left in every way, and the reading of answers."""

import asyncio
import dataclasses
import socket
import ssl
import struct

READ_BYTES = 1 << 16


class Wrong(Exception):
    """The server answered what it must not."""


class Wire:
    """One connection, plain or in TLS. Every wait ends by itself: a server that hangs is TimeoutError."""

    PATIENCE_SECONDS = 20.0

    def __init__(self, sock: socket.socket, tls: "Tls | None" = None):
        self.sock, self.tls = sock, tls

    @classmethod
    async def open(cls, address: tuple[str, int], tls: ssl.SSLContext | None = None, receive_bytes: int = 0) -> "Wire":
        sock = socket.socket()
        sock.setblocking(False)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        wire = cls(sock)
        try:
            await wire.wait(asyncio.get_running_loop().sock_connect(sock, address))
            if tls:
                wire.tls = Tls(tls)
                await wire.wait(wire.tls.handshake(wire))
        except BaseException:
            sock.close()
            raise
        return wire

    async def wait(self, operation):
        return await asyncio.wait_for(operation, self.PATIENCE_SECONDS)

    async def send(self, data: bytes):
        await self.wait(self.send_raw(self.tls.wrap(data) if self.tls else data))

    async def receive(self, most: int = READ_BYTES) -> bytes:
        """Some bytes; none at the end."""
        return await self.wait(self.tls.receive(self, most) if self.tls else self.receive_raw(most))

    async def receive_within(self, seconds: float, most: int = READ_BYTES) -> bytes:
        """The same; none also when nothing comes in time."""
        try:
            return await asyncio.wait_for(self.receive(most), seconds)
        except TimeoutError:
            return b""

    async def send_raw(self, data: bytes):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive_raw(self, most: int = READ_BYTES) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, most)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def leave(self, by_reset: bool):
        if by_reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Tls:
    """TLS between a wire's bytes and its socket's."""

    def __init__(self, context: ssl.SSLContext):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing)

    async def handshake(self, wire: Wire):
        while True:
            try:
                self.object.do_handshake()
                return await wire.send_raw(self.outgoing.read())
            except ssl.SSLWantReadError:
                await wire.send_raw(self.outgoing.read())
                self.feed(await wire.receive_raw())

    def feed(self, data: bytes):
        if not data:
            raise ConnectionResetError("the connection ended within the handshake")
        self.incoming.write(data)

    def wrap(self, data: bytes) -> bytes:
        self.object.write(data)
        return self.outgoing.read()

    async def receive(self, wire: Wire, most: int) -> bytes:
        while True:
            try:
                return self.object.read(most)
            except ssl.SSLWantReadError:
                data = await wire.receive_raw()
                if not data:
                    return b""
                self.incoming.write(data)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ends_connection(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class Reader:
    """The answers of one connection, in turn."""

    def __init__(self, wire: Wire):
        self.wire, self.buffer = wire, b""

    async def more(self):
        data = await self.wire.receive()
        if not data:
            raise ConnectionResetError("the connection ended within an answer")
        self.buffer += data

    async def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            await self.more()
        taken, self.buffer = self.buffer.split(mark, 1)
        return taken

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            await self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    async def to_the_end(self) -> bytes:
        while data := await self.wire.receive():
            self.buffer += data
        return self.buffer

    async def chunks(self) -> bytes:
        body = b""
        while size := int(await self.until(b"\r\n"), 16):
            body += await self.exactly(size)
            if await self.exactly(2) != b"\r\n":
                raise Wrong("a chunk does not end in its place")
        await self.until(b"\r\n")
        return body

    async def answer(self, method: str) -> Answer:
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ")
        if not version.startswith("HTTP/1."):
            raise Wrong(f"no answer begins like this: {lines[0]!r}")
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        if int(status) == 100:
            return await self.answer(method)
        if method == "HEAD" or int(status) in (204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = await self.chunks()
        elif "content-length" in headers:
            body = await self.exactly(int(headers["content-length"]))
        else:
            body = await self.to_the_end()
        return Answer(int(status), headers, body)
