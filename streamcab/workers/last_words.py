"""The newest messages of a process, in memory that outlives it: who started it reads them after a kill -9.

The memory is a file without a name, of one cell for the process itself and three for each stream. Knows nothing of
sockets, nor of what a message means.
"""

import mmap
import os
import struct

from streamcab.message import KINDS, topic

CELL = 4096
"""Bytes: a prediction of 30 labels, with attention, has half of it. A message that is larger is not kept."""
KINDS_PER_STREAM = 3
_HEAD = struct.Struct("=II")  # a counter that is odd while the cell is written, and the length of the body


def reserve(streams: int) -> int:
    """Return the descriptor of memory for a number of streams; the process that writes it must inherit it."""
    fd = os.memfd_create("streamcab-last-words", os.MFD_CLOEXEC)
    os.ftruncate(fd, CELL * (1 + KINDS_PER_STREAM * streams))
    return fd


class LastWords:
    """The memory behind a descriptor: `put`, `forget` and `say` for its writer, the others for its reader."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 0)
        self._free = list(range(len(self._map) - CELL, 0, -CELL))
        self._at: dict[bytes, int] = {}

    def put(self, name: bytes, body: bytes) -> None:
        """Keep the newest message of a topic."""
        at = self._at.get(name)
        if at is None:
            if not self._free:
                return
            at = self._at[name] = self._free.pop()
        self._write(at, body)

    def forget(self, stream: str) -> None:
        """Release the cells of a stream that has ended."""
        for kind in KINDS:
            at = self._at.pop(topic(stream, kind).encode(), None)
            if at is not None:
                self._write(at, b"")
                self._free.append(at)

    def say(self, body: bytes) -> None:
        """Keep the newest message of the process about itself."""
        self._write(0, body)

    def said(self) -> bytes:
        """Return that message; empty before the first, and if it is being written."""
        return self._read(0)

    def all(self) -> list[bytes]:
        """Return the newest message of every topic."""
        return [body for at in range(CELL, len(self._map), CELL) if (body := self._read(at))]

    def close(self) -> None:
        """Release the memory."""
        self._map.close()

    def _write(self, at: int, body: bytes) -> None:
        if len(body) > CELL - _HEAD.size:
            body = b""
        count, _ = _HEAD.unpack_from(self._map, at)
        _HEAD.pack_into(self._map, at, (count + 1 | 1) & 0xFFFFFFFF, 0)
        start = at + _HEAD.size
        self._map[start : start + len(body)] = body
        _HEAD.pack_into(self._map, at, (count + 2) & 0xFFFFFFFE, len(body))

    def _read(self, at: int) -> bytes:
        count, length = _HEAD.unpack_from(self._map, at)
        start = at + _HEAD.size
        body = self._map[start : start + length]
        return body if count % 2 == 0 and _HEAD.unpack_from(self._map, at) == (count, length) else b""
