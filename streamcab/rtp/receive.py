"""UDP sockets, and datagrams from all of them in batches: recvmmsg on Linux, one by one elsewhere.

Owns the sockets, their buffers and the row layout of a `Batch`. Knows nothing of RTP.

Why in batches: a small receive gives up the GIL and waits a switch interval (5 ms) to get it back from a
busy thread; recvmmsg takes a thousand datagrams per exchange. A tick of 10 ms is slow enough to make
batches, and nothing to an interval of 25 ms.
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import ConfigError, SourceError

ROWS = 4096
"""Rows of a batch. Usually a tick brings a few hundred; after a stall, the larger the batch, the fewer the
exchanges of the GIL it takes to catch up.
"""
MOST = 1024
"""Datagrams per system call: UIO_MAXIOV of Linux."""
SLOT = 2048
"""Bytes of a datagram that fit; longer ones are refused. No audio packet of a common network comes near."""
STRIDE = SLOT + 64
"""A line of cache more than a power of two: else all rows share a few sets of the cache."""
NAME = 32
"""Bytes for a source address: struct sockaddr_in (16) or sockaddr_in6 (28), zero after it."""
BUFFER = 16 << 20
"""SO_RCVBUF asked for: 0.8 s of a thousand calls. The usual 208 kB hold 5 ms of them."""

_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO_DROPS = 8
_MSG_TRUNC = 0x20
_AF6 = 10
_HEADER = np.dtype(
    {  # struct mmsghdr of 64-bit Linux
        "names": ["name", "name_size", "vector", "vectors", "control", "control_size", "flags", "length"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)


@dataclass(slots=True)
class Batch:
    """n datagrams of any of the sockets, valid until the next receive.

    data      (n, STRIDE) uint8
    length    (n,) int64    bytes
    truncated (n,) bool     longer than SLOT
    name      (n, 4) uint64 source address and port as a sockaddr
    port      (n,) int64    index of the socket that received it
    wide      whether any source address is IPv6
    """

    data: NDArray[np.uint8]
    length: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    name: NDArray[np.uint64]
    port: NDArray[np.int64]
    wide: bool

    @classmethod
    def of(cls, datagrams: Iterable[tuple[bytes, tuple[str, int]]], port: int = 0) -> "Batch":
        """Datagrams with their sources, e.g. from a capture file."""
        pairs = list(datagrams)
        data = np.zeros((len(pairs), STRIDE), np.uint8)
        for row, (payload, _) in zip(data, pairs, strict=True):
            row[: min(len(payload), SLOT)] = np.frombuffer(payload[:SLOT], np.uint8)
        length = np.array([len(payload) for payload, _ in pairs], np.int64)
        names = b"".join(pack_address(*source) for _, source in pairs)
        return cls(
            data=data,
            length=np.minimum(length, SLOT),
            truncated=length > SLOT,
            name=np.frombuffer(names, np.uint64).reshape(-1, NAME // 8),
            port=np.full(len(pairs), port, np.int64),
            wide=any(":" in host for _, (host, _) in pairs),
        )


def pack_address(host: str, port: int, scope: int = 0) -> bytes:
    """A numeric address as the NAME bytes that Linux would have written."""
    if ":" in host:
        raw = struct.pack(
            "=H2sI16sI", _AF6, port.to_bytes(2), 0, socket.inet_pton(socket.AF_INET6, host), scope
        )
    else:
        raw = struct.pack("=H2s4s", socket.AF_INET, port.to_bytes(2), socket.inet_pton(socket.AF_INET, host))
    return raw.ljust(NAME, b"\0")


def unpack_address(name: bytes) -> tuple[str, int]:
    """The reverse of `pack_address`: (host, port), without the scope."""
    port = int.from_bytes(name[2:4])
    if int.from_bytes(name[:2], sys.byteorder) == _AF6:
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port
    return socket.inet_ntop(socket.AF_INET, name[4:8]), port


@dataclass(frozen=True)
class Address:
    """Where to listen: `127.0.0.1:5004`, `[::1]:5004`, `239.69.1.1%eth0:5004` or `[ff15::1%eth0]:5004`."""

    host: str
    port: int
    interface: str = ""
    """Of a multicast group: the interface to join on; empty lets the system choose."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        host, colon, port = text.strip().rpartition(":")
        host, _, interface = host.removeprefix("[").removesuffix("]").partition("%")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.inet_pton(family, host)
        except OSError:
            colon = ""
        if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise ConfigError(f"not an address to listen on: {text!r}; write 127.0.0.1:5004 or [::1]:5004")
        return cls(host, int(port), interface)

    @property
    def group(self) -> bool:
        """Whether this is a multicast group."""
        if ":" in self.host:
            return socket.inet_pton(socket.AF_INET6, self.host)[0] == 0xFF
        return 224 <= socket.inet_pton(socket.AF_INET, self.host)[0] < 240

    def __str__(self) -> str:
        zone = f"%{self.interface}" if self.interface else ""
        return f"[{self.host}{zone}]:{self.port}" if ":" in self.host else f"{self.host}{zone}:{self.port}"


def listen(address: Address) -> socket.socket:
    """A bound, non-blocking UDP socket with the largest buffer to be had, its group joined. SourceError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        plug = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise SourceError(f"cannot listen on {address}: {error.strerror}") from error
    try:
        index = socket.if_nametoindex(address.interface) if address.interface else 0
        if family == socket.AF_INET6:
            plug.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if address.group:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            plug.bind((address.host, address.port, 0, index))
        else:
            plug.bind((address.host, address.port))
        if address.group:
            _join(plug, address.host, index)
        plug.setblocking(False)
        _enlarge(plug)
    except OSError as error:
        plug.close()
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = "; another program has this port (`ss -ulnp` says which)"
        elif error.errno == errno.EADDRNOTAVAIL:
            hint = "; no interface of this machine has this address"
        elif error.errno == errno.EACCES:
            hint = "; ports below 1024 are the system's: choose a higher one"
        raise SourceError(f"cannot listen on {address}: {error.strerror or error}{hint}") from error
    return plug


def join_anew(plug: socket.socket, address: Address, index: int) -> int:
    """Follow a group's named interface, joined as number `index` (0: not at all), to the one of that name now.

    An interface that was unplugged comes back under another number, and without its groups. Returns the number that is
    joined now.
    """
    try:
        now = socket.if_nametoindex(address.interface)
    except OSError:
        now = 0
    if now == index:
        return index
    if index:
        with contextlib.suppress(OSError):  # the kernel may have left already
            _join(plug, address.host, index, leave=True)
    if now:
        try:
            _join(plug, address.host, now)
        except OSError:  # it is there and not up yet
            return 0
    return now


def _join(plug: socket.socket, host: str, index: int, leave: bool = False) -> None:
    if ":" in host:
        request = struct.pack("=16sI", socket.inet_pton(socket.AF_INET6, host), index)
        option = socket.IPV6_LEAVE_GROUP if leave else socket.IPV6_JOIN_GROUP
        plug.setsockopt(socket.IPPROTO_IPV6, option, request)
        return
    group = socket.inet_pton(socket.AF_INET, host)
    # struct ip_mreqn where an interface is named; elsewhere than Linux ip_mreq is all there is.
    request = (
        struct.pack("=4s4si", group, bytes(4), index) if index else struct.pack("=4s4s", group, bytes(4))
    )
    plug.setsockopt(
        socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP if leave else socket.IP_ADD_MEMBERSHIP, request
    )


def _enlarge(plug: socket.socket) -> None:
    if sys.platform == "linux":
        try:
            plug.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
            return
        except PermissionError:
            pass  # wants CAP_NET_ADMIN
    asked = BUFFER
    while asked > 65536:
        try:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
            return
        except OSError:  # BSD refuses what Linux would cut
            asked //= 2


def buffer_bytes(plug: socket.socket) -> int:
    """The receive buffer that was granted, as it was asked for: Linux reports twice that."""
    granted = plug.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return granted // 2 if sys.platform == "linux" else granted


def kernel_drops(plug: socket.socket) -> int:
    """Datagrams that the kernel threw away because this socket's buffer was full; 0 where it does not say."""
    if sys.platform != "linux":
        return 0
    try:
        raw = plug.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
    except OSError:  # closed, or a kernel before 4.12
        return 0
    words = struct.unpack(f"={len(raw) // 4}I", raw)
    return words[_MEMINFO_DROPS] if len(words) > _MEMINFO_DROPS else 0


class Receiver(Protocol):
    """Takes what has arrived, without waiting."""

    errors: int
    """Receives that failed other than by there being nothing,"""
    error: str
    """and why the last of them did, in words."""

    def receive(self) -> Batch | None:
        """Up to ROWS datagrams of any of the sockets, or None. Each call starts at another socket."""


class BatchReceiver:
    """recvmmsg: one system call per thousand datagrams.

    The first call of a batch gives up the GIL, so that others go on meanwhile. The calls after it, to other
    sockets or to catch up, keep it: against a busy thread, each time it is given up costs a switch interval.
    """

    def __init__(self, plugs: list[socket.socket]) -> None:
        self._plugs = plugs
        self._turn = 0
        self.errors = 0
        self.error = ""
        self._data = np.zeros((ROWS, STRIDE), np.uint8)
        self._name = np.zeros((ROWS, NAME), np.uint8)
        self._port = np.zeros(ROWS, np.int64)
        self._vector = np.zeros((ROWS, 2), np.uint64)  # struct iovec
        self._vector[:, 0] = self._data.ctypes.data + np.arange(ROWS, dtype=np.uint64) * STRIDE
        self._vector[:, 1] = SLOT
        self._header = np.zeros(ROWS, _HEADER)
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
        self._name[: self._filled] = 0
        self._header["name_size"][: self._filled] = NAME
        self._turn += 1
        filled, wide, call = 0, False, self._giving
        for k in range(len(self._plugs)):
            index = (self._turn + k) % len(self._plugs)
            plug = self._plugs[index]
            while filled < ROWS:
                room = min(ROWS - filled, MOST)
                at = self._first + filled * _HEADER.itemsize
                got = call(plug.fileno(), at, room, socket.MSG_DONTWAIT, None)
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
                wide |= plug.family == socket.AF_INET6
                filled += got
                if got < room:
                    break
        self._filled = filled
        if filled == 0:
            return None
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
    """recvfrom_into, row by row: everywhere else than on Linux. The same batches at a third of the speed."""

    def __init__(self, plugs: list[socket.socket]) -> None:
        self._plugs = plugs
        self._turn = 0
        self.errors = 0
        self.error = ""
        self._data = np.zeros((ROWS, STRIDE), np.uint8)
        self._length = np.zeros(ROWS, np.int64)
        self._name = np.zeros((ROWS, NAME), np.uint8)
        self._port = np.zeros(ROWS, np.int64)
        # One byte more than fits tells what was cut, whatever the system's flags.
        self._rows = [row[: SLOT + 1].data for row in self._data]

    def receive(self) -> Batch | None:
        self._turn += 1
        filled, wide = 0, False
        for k in range(len(self._plugs)):
            index = (self._turn + k) % len(self._plugs)
            plug = self._plugs[index]
            while filled < ROWS:
                try:
                    size, source = plug.recvfrom_into(self._rows[filled])
                except (BlockingIOError, InterruptedError):
                    break
                except OSError as error:
                    # WSAEMSGSIZE: Windows refuses what it had to cut, and goes on.
                    if error.errno != errno.EBADF:
                        self.errors += 1
                        self.error = error.strerror or str(error)
                    break
                scope = source[3] if len(source) == 4 else 0
                packed = pack_address(source[0].partition("%")[0], source[1], scope)
                self._name[filled] = np.frombuffer(packed, np.uint8)
                self._length[filled] = size
                self._port[filled] = index
                wide |= plug.family == socket.AF_INET6
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


def receiver(plugs: list[socket.socket]) -> Receiver:
    """The fastest one that this system has."""
    if sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8:
        return BatchReceiver(plugs)
    return PlainReceiver(plugs)
