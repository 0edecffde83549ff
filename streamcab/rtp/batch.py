"""Datagrams of many sockets in rows: their layout in memory, and the form of a source address.

Knows nothing of sockets or RTP.
"""

import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOT = 2048
"""Largest datagram in bytes; longer ones are refused. Audio packets on common networks are much smaller."""
STRIDE = SLOT + 64
"""A cache line more than a power of two: otherwise all rows share a few sets of the cache."""
NAME = 32
"""Bytes for a source address: struct sockaddr_in (16) or sockaddr_in6 (28), zero after it."""

_AF6 = 10  # AF_INET6 of Linux, on every system: the sockaddrs here are in Linux's form
_WIDE = _AF6.to_bytes(2, sys.byteorder)


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
        """Create a batch from datagrams and their sources, e.g. from a capture file."""
        return cls.of_rows([(payload, pack_address(*source), port) for payload, source in datagrams])

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[bytes, bytes, int]]) -> "Batch":
        """Create a batch from datagrams, their sources as NAME bytes, and the indices of their sockets."""
        data = np.zeros((len(rows), STRIDE), np.uint8)
        for row, (payload, _, _) in zip(data, rows, strict=True):
            row[: min(len(payload), SLOT)] = np.frombuffer(payload[:SLOT], np.uint8)
        length = np.array([len(payload) for payload, _, _ in rows], np.int64)
        names = [name for _, name, _ in rows]
        return cls(
            data=data,
            length=np.minimum(length, SLOT),
            truncated=length > SLOT,
            name=np.frombuffer(b"".join(names), np.uint64).reshape(-1, NAME // 8),
            port=np.array([port for _, _, port in rows], np.int64),
            wide=any(name[:2] == _WIDE for name in names),
        )


def unmap(name: NDArray[np.uint8]) -> None:
    """Convert IPv4-mapped sources in name (n, NAME), from a dual-stack socket, to plain IPv4, in place."""
    mapped = (name[:, :2] == np.frombuffer(_WIDE, np.uint8)).all(1)
    mapped &= (name[:, 8:18] == 0).all(1) & (name[:, 18:20] == 255).all(1)
    rows = np.flatnonzero(mapped)
    if len(rows):
        name[rows, 4:8] = name[rows, 20:24]
        name[rows, 8:] = 0
        name[rows, :2] = np.frombuffer(socket.AF_INET.to_bytes(2, sys.byteorder), np.uint8)


def pack_address(host: str, port: int, scope: int = 0) -> bytes:
    """Return a numeric address as the NAME bytes that Linux would have written."""
    if ":" in host:
        raw = struct.pack(
            "=H2sI16sI", _AF6, port.to_bytes(2), 0, socket.inet_pton(socket.AF_INET6, host), scope
        )
    else:
        raw = struct.pack("=H2s4s", socket.AF_INET, port.to_bytes(2), socket.inet_pton(socket.AF_INET, host))
    return raw.ljust(NAME, b"\0")


def unpack_address(name: bytes) -> tuple[str, int]:
    """Return (host, port) of a packed address, without the scope: the reverse of `pack_address`."""
    port = int.from_bytes(name[2:4])
    if int.from_bytes(name[:2], sys.byteorder) == _AF6:
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port
    return socket.inet_ntop(socket.AF_INET, name[4:8]), port
