"""Frames of a WebSocket client: the messages that come whole, as platforms send them, without the library's parser.

That parser is exact for everything, and costs five times as much. Whatever is not a whole masked message of up to
64 kB, or a control frame, is left to it. Knows nothing of sockets and of what messages mean.
"""

from collections.abc import Iterator

from websockets.speedups import apply_mask

TEXT, BINARY, OTHER = 0x81, 0x82, 0x00
"""First bytes of a message, by which parts are told apart; OTHER: not by its first byte."""
_KNOWN = frozenset({TEXT, BINARY, 0x88, 0x89, 0x8A})


class Frames:
    """What one client sends, split; bytes of a frame that is not complete wait for the rest."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = False

    def leave(self) -> None:
        """Leave all that comes from now on to the library's parser."""
        self._left = True

    def split(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the first byte and the content of each message, else whole frames, or bytes, for the parser."""
        if self._left:
            yield OTHER, data
            return
        data, self._rest = self._rest + data, b""
        at, end = 0, len(data)
        while end - at >= 2:
            first, length, key = data[at], data[at + 1] - 128, at + 2
            if (
                first not in _KNOWN or not 0 <= length <= 126
            ):  # a fragment, a giant, or a breach of the protocol
                self._left = True
                yield OTHER, data[at:]
                return
            if length == 126:
                if end - at < 4:
                    break
                length, key = data[key] << 8 | data[key + 1], key + 2
            content = key + 4
            after = content + length
            if after > end:
                break
            if first <= BINARY:
                yield first, apply_mask(data[content:after], data[key:content])
            else:
                yield first, data[at:after]
            at = after
        self._rest = data[at:]
