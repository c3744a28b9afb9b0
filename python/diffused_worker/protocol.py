"""Messages over a stream socket: two lengths, a header in JSON, and raw bytes. Nothing is pickled.

    u32 little-endian   length of the header in bytes
    u32 little-endian   length of the blob in bytes
    header              one JSON object in UTF-8
    blob                the pictures that the header speaks of, one after another, 8 bits a channel, row by row
"""

import json
import socket
import struct
from dataclasses import dataclass, field

LENGTHS = struct.Struct("<II")
HEADER_BYTES_MAX = 1 << 20
BLOB_BYTES_MAX = 1 << 30


class ProtocolError(Exception):
    """The other side does not keep to the above."""


@dataclass
class Message:
    header: dict
    blob: bytes = field(default=b"", repr=False)


class Channel:
    """One side of the socket. One thread."""

    def __init__(self, connection: socket.socket):
        self._connection = connection

    def send(self, header: dict, blob: bytes = b"") -> None:
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
        self._connection.sendall(LENGTHS.pack(len(text), len(blob)) + text)
        if blob:
            self._connection.sendall(blob)

    def receive(self) -> Message | None:
        """None when the other side has closed between two messages."""
        lengths = self._read(LENGTHS.size, may_end=True)
        if lengths is None:
            return None
        header_bytes, blob_bytes = LENGTHS.unpack(lengths)
        if header_bytes > HEADER_BYTES_MAX or blob_bytes > BLOB_BYTES_MAX:
            raise ProtocolError(f"a message of {header_bytes} and {blob_bytes} bytes")
        try:
            header = json.loads(self._read(header_bytes))
        except ValueError as error:
            raise ProtocolError("a header that is not JSON") from error
        if not isinstance(header, dict):
            raise ProtocolError("a header that is not an object")
        return Message(header, bytes(self._read(blob_bytes)))

    def _read(self, size: int, may_end: bool = False) -> bytearray | None:
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            got = self._connection.recv_into(view[done:])
            if got == 0:
                if may_end and done == 0:
                    return None
                raise ProtocolError("the stream ends within a message")
            done += got
        return data
