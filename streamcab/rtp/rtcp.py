"""The parts of RTCP that a listener needs (RFC 3550 section 6): BYE and the SDES CNAME.

Pure functions over one datagram. A truncated or damaged report is ignored from there on. Knows nothing of calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_SDES = 202
_BYE = 203
_CNAME = 1


@dataclass(frozen=True)
class Bye:
    """The source `ssrc` at this address has stopped sending."""

    host: str
    ssrc: int


@dataclass(frozen=True)
class Name:
    """The CNAME of the source `ssrc` at this address."""

    host: str
    ssrc: int
    cname: str


def reports(datagram: bytes, host: str) -> Iterator[Bye | Name]:
    """Return the reports of a compound packet, in order."""
    at = 0
    while at + 4 <= len(datagram):
        count, kind = datagram[at] & 31, datagram[at + 1]
        end = at + 4 + 4 * int.from_bytes(datagram[at + 2 : at + 4])
        if datagram[at] >> 6 != 2 or end > len(datagram):
            return
        body = datagram[at + 4 : end]
        if kind == _BYE:
            for k in range(min(count, len(body) // 4)):
                yield Bye(host, int.from_bytes(body[4 * k : 4 * k + 4]))
        elif kind == _SDES:
            yield from _names(body, count, host)
        at = end


def _names(body: bytes, count: int, host: str) -> Iterator[Name]:
    at = 0
    for _ in range(count):
        if at + 5 > len(body):
            return
        ssrc = int.from_bytes(body[at : at + 4])
        at += 4
        while at + 2 <= len(body) and body[at] != 0:
            item, size = body[at], body[at + 1]
            text = body[at + 2 : at + 2 + size]
            if item == _CNAME and len(text) == size:
                yield Name(host, ssrc, text.decode("utf-8", "replace"))
            at += 2 + size
        at += 4 - at % 4  # a chunk ends with at least one zero, on a multiple of four
