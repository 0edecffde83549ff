"""The RTP fixed header (RFC 3550 section 5.1) of a whole batch of datagrams at once.

Pure functions over arrays: no sockets, no calls, no payload types. For any bytes, nothing outside a datagram is
read, and every datagram gets exactly one `Fate`.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

HEADER = 12
"""Bytes of the fixed header."""


class Fate(IntEnum):
    """The outcome of one datagram, as the counters count it. Up to EMPTY it took a sequence number."""

    ACCEPTED = 0
    COMFORT_NOISE = 1
    EVENT = 2
    UNKNOWN_TYPE = 3
    NO_DECODER = 4
    EMPTY = 5
    MALFORMED = 6
    TRUNCATED = 7
    NOT_ALLOWED = 8
    RTCP = 9
    REFUSED_FULL = 10
    DUPLICATE = 11
    LATE = 12
    JUMPED = 13
    OVERRUN = 14


@dataclass(slots=True)
class Headers:
    """Columns of n datagrams; where `fate` is not ACCEPTED or EMPTY the rest of the row is undefined.

    fate     (n,) uint8   ACCEPTED, EMPTY, MALFORMED, TRUNCATED or RTCP
    kind     (n,) uint8   payload type, 0..127
    sequence (n,) uint16
    time     (n,) uint32  RTP timestamp, ticks of the payload type's clock
    ssrc     (n,) uint32
    start    (n,) int64   offset of the payload in its datagram, bytes
    size     (n,) int64   bytes of payload, without padding
    """

    fate: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    sequence: NDArray[np.uint16]
    time: NDArray[np.uint32]
    ssrc: NDArray[np.uint32]
    start: NDArray[np.int64]
    size: NDArray[np.int64]


def parse(data: NDArray[np.uint8], length: NDArray[np.int64], truncated: NDArray[np.bool_]) -> Headers:
    """Read the headers of n datagrams: data (n, stride) bytes, length (n,) bytes each, truncated (n,).

    RTCP on the same port is recognised by its second byte, 192 to 223 (RFC 5761 section 4).
    """
    head = np.ascontiguousarray(data[:, :HEADER])
    first, second = head[:, 0], head[:, 1]
    start = 4 * (first & 0x0F).astype(np.int64) + HEADER
    size = length - start
    broken = (first >> 6 != 2) | (size < 0)
    rtcp = (second >= 192) & (second <= 223) & (length >= 8) & (first >> 6 == 2)

    extended = np.flatnonzero((first & 0x10 != 0) & ~broken)
    if len(extended):
        at = start[extended]
        room = size[extended] >= 4
        broken[extended[~room]] = True
        extended, at = extended[room], at[room]
        words = data[extended, at + 2].astype(np.int64) * 256 + data[extended, at + 3]
        start[extended] += 4 + 4 * words
        size[extended] -= 4 + 4 * words
        broken |= size < 0

    padded = np.flatnonzero((first & 0x20 != 0) & ~broken)
    if len(padded):
        pad = data[padded, length[padded] - 1].astype(np.int64)
        broken[padded[(pad == 0) | (pad > size[padded])]] = True
        size[padded] -= pad

    fate = np.where(size == 0, np.uint8(Fate.EMPTY), np.uint8(Fate.ACCEPTED))
    fate[broken] = Fate.MALFORMED
    fate[rtcp] = Fate.RTCP
    fate[truncated] = Fate.TRUNCATED
    return Headers(
        fate=fate,
        kind=second & np.uint8(0x7F),
        sequence=head.view(">u2")[:, 1].astype(np.uint16),
        time=head.view(">u4")[:, 1].astype(np.uint32),
        ssrc=head.view(">u4")[:, 2].astype(np.uint32),
        start=start,
        size=size,
    )
