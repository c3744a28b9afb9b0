"""A wire between a client and the server that passes on every byte as it is and remembers them, for the tests to read."""

import dataclasses
import socket
import threading

import h11


@dataclasses.dataclass
class Exchange:
    method: str
    target: str
    request_headers: dict[str, str]
    request_body: bytes = b""
    status: int | None = None  # None while no answer has begun
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    whole: bool = False  # the answer came to its end


def as_text(headers) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in headers}


class Connection:
    """Two sockets and what went through them."""

    def __init__(self, client: socket.socket, server: socket.socket):
        self.sent = bytearray()
        self.answered = bytearray()
        for source, target, copy in ((client, server, self.sent), (server, client, self.answered)):
            threading.Thread(target=self._pass_on, args=(source, target, copy), daemon=True).start()

    @staticmethod
    def _pass_on(source, target, copy) -> None:
        try:
            while data := source.recv(1 << 16):
                copy += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one end is gone: so is the other
            for end in (source, target):
                end.close()

    def exchanges(self) -> list[Exchange]:
        """What was said, read by two parsers that play the server and the client to each other."""
        as_server, as_client = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
        # Nothing received would mean the end to h11.
        for parser, data in ((as_server, self.sent), (as_client, self.answered)):
            if data:
                parser.receive_data(bytes(data))
        found = []
        while isinstance(request := as_server.next_event(), h11.Request):
            as_client.send(request)
            exchange = Exchange(request.method.decode(), request.target.decode(), as_text(request.headers))
            found.append(exchange)
            exchange.request_body = self._body(as_server, as_client)
            while isinstance(response := as_client.next_event(), h11.InformationalResponse):
                as_server.send(response)
            if not isinstance(response, h11.Response):
                break
            as_server.send(response)
            exchange.status, exchange.headers = response.status_code, as_text(response.headers)
            exchange.body = self._body(as_client, as_server)
            exchange.whole = as_client.their_state is h11.DONE
            if as_server.our_state is not h11.DONE or as_client.our_state is not h11.DONE or not exchange.whole:
                break
            as_server.start_next_cycle()
            as_client.start_next_cycle()
        return found

    @staticmethod
    def _body(reader: h11.Connection, other: h11.Connection) -> bytes:
        body = b""
        while isinstance(event := reader.next_event(), h11.Data | h11.EndOfMessage):
            other.send(event)
            if isinstance(event, h11.EndOfMessage):
                break
            body += bytes(event.data)
        return body


class Wire:
    """Listens on a free port of its own and connects whoever comes to the server at `url`."""

    def __init__(self, url: str):
        host, port = url.removeprefix("http://").split(":")
        self._server = (host, int(port))
        self._connections: list[Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._listener.accept()
                self._connections.append(Connection(client, socket.create_connection(self._server)))
        except OSError:
            pass  # closed

    def exchanges(self) -> list[Exchange]:
        return [exchange for connection in self._connections for exchange in connection.exchanges()]

    def close(self) -> None:
        # accept() in the other thread holds the socket until it is woken.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
