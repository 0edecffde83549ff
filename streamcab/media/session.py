"""One connection: its messages become events of a call, within a budget of messages and of audio.

Whatever a client sends costs its own connection only. Knows nothing of sockets: `send` and `shut` are functions.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from streamcab.media.calls import Call, Calls
from streamcab.media.events import Audio, Digit, Event, Gap, Malformed, Reply, Start
from streamcab.media.serializer import Serializer

log = logging.getLogger("streamcab.media")

MESSAGES, MESSAGES_PER_S = 2000, 250
"""Messages that may come at once, and per second: two tracks send 100."""
AHEAD_S, PACE = 15.0, 1.25
"""Seconds of audio that may be ahead of the clock, and how much faster than it audio may come, as after a stall."""
BAD = 50
"""Malformed messages after which a connection is closed."""
START_S = 15.0
"""Seconds in which a call must have been announced."""
SILENT_S = 3600.0
"""Seconds without a message after which a connection is closed; a caller on hold is heard less."""
PROTOCOL, TOO_BIG, POLICY, DEFECT = 1002, 1009, 1008, 1011
"""Codes of a close."""


class Session:
    """Messages of one connection, given as they come.

    send    sends a text message
    shut    closes the connection with a code and a reason
    counts  of the server, by reason
    """

    def __init__(
        self,
        serializer: Serializer,
        calls: Calls,
        now: float,
        send: Callable[[str], None],
        shut: Callable[[int, str], None],
        counts: "Counter[str]",
    ) -> None:
        self.serializer, self._calls, self._send, self._shut = serializer, calls, send, shut
        self._counts = counts
        self._call: Call | None = None
        self._began = self.last = now
        self._allowance, self._bad = float(MESSAGES), 0
        self.over = False

    def opened(self, now: float) -> None:
        """Note that the connection is open."""
        self._take(self.serializer.opened, now)

    def text(self, data: bytes, now: float) -> None:
        """Take a text message."""
        if self._admits(len(data), now):
            self._take(lambda: self.serializer.text(data), now)

    def binary(self, data: bytes, now: float) -> None:
        """Take a binary message."""
        if self._admits(len(data), now):
            self._take(lambda: self.serializer.binary(data), now)

    def chunk(self, read: Callable[[], Iterable[Event]], size: int, now: float) -> None:
        """Take part of a byte stream."""
        if self._admits(size, now):
            self._take(read, now)

    def _admits(self, size: int, now: float) -> bool:
        if self.over:
            return False
        passed, self.last = now - self.last, now
        self._allowance = min(self._allowance + passed * MESSAGES_PER_S, MESSAGES) - 1
        if self._allowance < 0:
            self._refuse(POLICY, "too many messages", "flooded")
        elif size > self.serializer.largest:
            self._refuse(TOO_BIG, "a message that is too long", "too_big")
        return not self.over

    def _take(self, read: Callable[[], Iterable[Event]], now: float) -> None:
        try:
            for event in read():
                self._handle(event, now)
                if self.over:
                    return
        except Malformed as error:
            self._bad += 1
            self._counts["malformed"] += 1
            log.info("media: %s sent %s", self.serializer.name, error)
            if self.serializer.strict or self._bad > BAD:
                self._refuse(PROTOCOL, str(error), "closed_malformed")
        except Exception:  # a defect of ours must cost a connection, not all calls
            log.exception("media: an error inside streamcab")
            self._refuse(DEFECT, "an error inside streamcab", "defects")

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Audio):
            self._audio(event, now)
        elif isinstance(event, Start):
            kind = self.serializer
            self._call = self._calls.begin(kind.name, event, self, kind.shake.peer, kind.lookback_s, now)
        elif isinstance(event, Gap):
            if self._call is not None:
                self._calls.gap(self._call, event.seconds)
        elif isinstance(event, Reply):
            self._send(event.text)
        elif isinstance(event, Digit):
            self._counts["digits"] += 1
        else:
            self._end(event.reason, now)

    def _audio(self, audio: Audio, now: float) -> None:
        if self._call is None:
            raise Malformed("audio before the call")
        leg = self._calls.audio(self._call, audio, now)
        if leg is not None and leg.position - leg.began > (PACE * (now - leg.first) + AHEAD_S) * leg.rate:
            self._refuse(POLICY, "more audio than time has passed", "flooded")

    def _end(self, reason: str, now: float) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._calls.over(call, self, reason, now)

    def _refuse(self, code: int, why: str, counted: str) -> None:
        """Close the connection of a client that has only itself to blame; its call may come back."""
        if not self.over:
            self.over = True
            self._counts[counted] += 1
            log.info("media: a connection of %s is closed: %s", self.serializer.name, why)
            self._shut(code, why)

    def replaced(self) -> None:
        """See Owner."""
        self._call = None
        self._refuse(POLICY, "another connection carries the call now", "replaced")

    def closed(self, code: int, now: float) -> None:
        """Note that the connection is gone."""
        self.over = True
        call, self._call = self._call, None
        if call is None:
            return
        if self.serializer.hung_up(code):
            self._calls.over(call, self, "hung up", now)
        else:
            self._calls.broke(call, self, now)

    def look(self, now: float) -> None:
        """Close the connection if nothing sensible comes. Call it every second or so."""
        if self._call is None and self.serializer.started is None and now - self._began > START_S:
            self._refuse(POLICY, f"no call was announced in {START_S:g} s", "unannounced")
        elif now - self.last > SILENT_S:
            self._refuse(POLICY, f"nothing has come for {SILENT_S:g} s", "silent")
