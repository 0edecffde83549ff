"""Datagrams of many sockets in rows: how they lie in memory, and how a source address is spelled there.

Knows nothing of sockets, nor of RTP.
"""

import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOT = 2048
"""Bytes of a datagram that fit; longer ones are refused. No audio packet of a common network comes near."""
STRIDE = SLOT + 64
"""A line of cache more than a power of two: else all rows share a few sets of the cache."""
NAME = 32
"""Bytes for a source address: struct sockaddr_in (16) or sockaddr_in6 (28), zero after it."""

_AF6 = 10  # AF_INET6 as Linux numbers it, whatever this system does: the sockaddrs here are Linux's
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
        """Datagrams with their sources, e.g. from a capture file."""
        return cls.of_rows([(payload, pack_address(*source), port) for payload, source in datagrams])

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[bytes, bytes, int]]) -> "Batch":
        """Datagrams with their sources as NAME bytes and the indices of their sockets."""
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
    """IPv4 sources in name (n, NAME), as a socket of both families spells them, become what they are; in place."""
    mapped = (name[:, :2] == np.frombuffer(_WIDE, np.uint8)).all(1)
    mapped &= (name[:, 8:18] == 0).all(1) & (name[:, 18:20] == 255).all(1)
    rows = np.flatnonzero(mapped)
    if len(rows):
        name[rows, 4:8] = name[rows, 20:24]
        name[rows, 8:] = 0
        name[rows, :2] = np.frombuffer(socket.AF_INET.to_bytes(2, sys.byteorder), np.uint8)


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
