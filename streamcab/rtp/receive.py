"""Datagrams from several UDP sockets in batches: recvmmsg on Linux, one by one elsewhere. Knows nothing of RTP.

Reason for batches: a small receive releases the GIL and waits a switch interval (5 ms) to get it back from a
busy thread; recvmmsg takes a thousand datagrams per release. A tick of 10 ms is long enough to make batches, and short
compared with an interval of 25 ms.
"""

import ctypes
import errno
import os
import socket
import sys
from typing import Protocol

import numpy as np

from streamcab.rtp.batch import NAME, SLOT, STRIDE, Batch, pack_address, unmap

ROWS = 4096
"""Rows of a batch. A tick usually brings a few hundred. After a stall, a larger batch needs fewer releases of the GIL
to catch up.
"""
MOST = 1024
"""Datagrams per system call: UIO_MAXIOV of Linux."""

_MSG_TRUNC = 0x20
MMSGHDR = np.dtype(
    {
        "names": ["name", "name_size", "vector", "vectors", "control", "control_size", "flags", "length"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""struct mmsghdr of 64-bit Linux: recvmmsg and sendmmsg take an array of these."""


class Receiver(Protocol):
    """Receives the datagrams that have arrived, without waiting."""

    errors: int
    """Number of failed receives, other than for lack of data,"""
    error: str
    """and the reason for the last failure, in words."""

    def receive(self) -> Batch | None:
        """Return up to ROWS datagrams of any of the sockets, or None. Each call starts at another socket."""


class BatchReceiver:
    """recvmmsg: one system call per thousand datagrams.

    The first call of a batch releases the GIL, so that other threads continue meanwhile. The calls after it, to other
    sockets or to catch up, keep it: with a busy thread, each release costs a switch interval.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._turn = 0
        self.errors = 0
        self.error = ""
        self._data = np.zeros((ROWS, STRIDE), np.uint8)
        self._name = np.zeros((ROWS, NAME), np.uint8)
        self._port = np.zeros(ROWS, np.int64)
        self._vector = np.zeros((ROWS, 2), np.uint64)  # struct iovec
        self._vector[:, 0] = self._data.ctypes.data + np.arange(ROWS, dtype=np.uint64) * STRIDE
        self._vector[:, 1] = SLOT
        self._header = np.zeros(ROWS, MMSGHDR)
        self._header["name"] = self._name.ctypes.data + np.arange(ROWS, dtype=np.uint64) * NAME
        self._header["vector"] = self._vector.ctypes.data + np.arange(ROWS, dtype=np.uint64) * 16
        self._header["vectors"] = 1
        self._header["name_size"] = NAME
        self._filled = 0
        self._first = self._header.ctypes.data
        self._giving = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._keeping = ctypes.PyDLL(None, use_errno=True).recvmmsg
        for call in (self._giving, self._keeping):
            call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]

    def receive(self) -> Batch | None:
        """See Receiver."""
        self._name[: self._filled] = 0
        self._header["name_size"][: self._filled] = NAME
        self._turn += 1
        filled, wide, call = 0, False, self._giving
        for k in range(len(self._sockets)):
            index = (self._turn + k) % len(self._sockets)
            sock = self._sockets[index]
            while filled < ROWS:
                room = min(ROWS - filled, MOST)
                at = self._first + filled * MMSGHDR.itemsize
                got = call(sock.fileno(), at, room, socket.MSG_DONTWAIT, None)
                call = self._keeping
                if got < 0 and ctypes.get_errno() == errno.EINTR:
                    continue
                if got <= 0:
                    why = ctypes.get_errno()
                    if why not in (errno.EAGAIN, errno.EBADF):
                        self.errors += 1
                        self.error = os.strerror(why)
                    break
                self._port[filled : filled + got] = index
                wide |= sock.family == socket.AF_INET6
                filled += got
                if got < room:
                    break
        self._filled = filled
        if filled == 0:
            return None
        if wide:
            unmap(self._name[:filled])
        header = self._header[:filled]
        return Batch(
            data=self._data[:filled],
            length=header["length"].astype(np.int64),
            truncated=header["flags"] & _MSG_TRUNC != 0,
            name=self._name[:filled].view(np.uint64),
            port=self._port[:filled],
            wide=wide,
        )


class PlainReceiver:
    """recvfrom_into, row by row, for systems other than Linux: the same batches at a third of the speed."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._turn = 0
        self.errors = 0
        self.error = ""
        self._data = np.zeros((ROWS, STRIDE), np.uint8)
        self._length = np.zeros(ROWS, np.int64)
        self._name = np.zeros((ROWS, NAME), np.uint8)
        self._port = np.zeros(ROWS, np.int64)
        # One byte more than fits reveals truncation, independent of the system's flags.
        self._rows = [row[: SLOT + 1].data for row in self._data]

    def receive(self) -> Batch | None:
        """See Receiver."""
        self._turn += 1
        filled, wide = 0, False
        for k in range(len(self._sockets)):
            index = (self._turn + k) % len(self._sockets)
            sock = self._sockets[index]
            while filled < ROWS:
                try:
                    size, source = sock.recvfrom_into(self._rows[filled])
                except (BlockingIOError, InterruptedError):
                    break
                except OSError as error:
                    # WSAEMSGSIZE: Windows reports a truncated datagram as an error, and continues.
                    if error.errno != errno.EBADF:
                        self.errors += 1
                        self.error = error.strerror or str(error)
                    break
                scope = source[3] if len(source) == 4 else 0
                packed = pack_address(source[0].partition("%")[0].removeprefix("::ffff:"), source[1], scope)
                self._name[filled] = np.frombuffer(packed, np.uint8)
                self._length[filled] = size
                self._port[filled] = index
                wide |= sock.family == socket.AF_INET6
                filled += 1
        if filled == 0:
            return None
        length = self._length[:filled]
        return Batch(
            data=self._data[:filled],
            length=np.minimum(length, SLOT),
            truncated=length > SLOT,
            name=self._name[:filled].view(np.uint64),
            port=self._port[:filled],
            wide=wide,
        )


def receiver(sockets: list[socket.socket]) -> Receiver:
    """Return the fastest receiver of this system."""
    if sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8:
        return BatchReceiver(sockets)
    return PlainReceiver(sockets)
