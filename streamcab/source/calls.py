"""The calls of an intake as lines: one for each call that begins, moved as it stalls, is heard again and ends.

Owns their names and what is said of them to people. Everything but `begun` and `release` is called from the receive
thread. Knows nothing of sockets or packets.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from streamcab.rtp.events import CallEnded, CallStarted, CodecChanged, FlawFound, SourceChanged
from streamcab.rtp.intake import Intake
from streamcab.rtp.names import CallNames
from streamcab.rtp.packet import Fate
from streamcab.rtp.stalls import MANY, STALL_S, Stalls
from streamcab.source.incoming import Handover
from streamcab.source.line import Line
from streamcab.text import plural

log = logging.getLogger("streamcab.source")

REFUSALS_S = 10.0
"""Between two warnings of calls for which there is no row."""
RECENT_S = 2.0
"""Packets of the last seconds count as being refused now."""
SHARE = 0.1
"""Refused packets, of all that come, of which the daemon speaks itself."""
TYPES = 3
"""Payload types that it names at most."""
NO_PACKETS = f"no packet for {STALL_S:g} s: silence suppression, or the sender or the way is gone"


class Calls:
    """The calls of one intake as lines; `addresses` are those of its sockets, in words, by number."""

    def __init__(self, intake: Intake, names: CallNames, addresses: Sequence[str]) -> None:
        self._intake, self._names, self._addresses = intake, names, addresses
        self._stalls = Stalls(intake.table)
        self._lines: dict[int, tuple[CallStarted, Line]] = {}
        self._handover = Handover()
        self._refused: set[int] = set()
        self._warned = -inf
        self._packets = 0  # refused, as far as they have been told of
        self.refusing = ""
        """What of much that comes now cannot be heard, in words; empty when there is no such thing."""
        self._recent = (0.0, 0, 0)  # monotonic time; packets received and unheard by then

    def begun(self) -> list[Line]:
        """Return the calls that have left probation since the last time; from any thread."""
        return self._handover.begun()

    def release(self, line: Line) -> None:
        """Free the call's row for another; from any thread."""
        self._handover.release(line)

    def watch(self, now: float) -> None:
        """Update lines of calls that have stalled or are heard again; warn when all have stalled at once, of calls for
        which there is no row, and of what cannot be heard."""
        self._warn_of_refusals(now)
        for stranger in self._intake.strangers.untold():
            log.warning(
                "RTP: %s:%d sends audio that cannot be decoded: %s",
                stranger.host,
                stranger.port,
                stranger.in_words(),
            )
        self._count(now)
        stalls, was = self._stalls, self._stalls.silent
        change = stalls.look(now)
        for slot in change.stalled.tolist():
            if slot in self._lines:
                self._lines[slot][1].move("stalled", NO_PACKETS)
        for slot in change.heard.tolist():
            if slot in self._lines:
                self._lines[slot][1].move("live")
        if stalls.calls < MANY or (was is None) == (stalls.silent is None):
            return
        if was is None:
            log.warning(
                "RTP: no packet from any of %d calls for %g s; is the network down?", stalls.calls, STALL_S
            )
        else:
            log.warning("RTP: packets arrive again after %.1f s", now - was)

    def _count(self, now: float) -> None:
        then, received, unheard = self._recent
        if now - then < RECENT_S:
            return
        intake = self._intake
        came = int(intake.fates[[Fate.UNKNOWN_TYPE, Fate.NO_DECODER]].sum())
        much = came - unheard > SHARE * (intake.received - received)
        self.refusing = "; ".join(intake.strangers.since(then)[:TYPES]) if much else ""
        self._recent = now, intake.received, came

    def _warn_of_refusals(self, now: float) -> None:
        calls = self._intake.refused
        if not calls or now - self._warned < REFUSALS_S:
            return
        packets = int(self._intake.fates[Fate.REFUSED_FULL])
        log.warning(
            "RTP: %s refused, %s: all %d streams are taken; raise --max-streams if this machine "
            "can serve more, or restrict the senders (--allow)",
            plural(len(calls), "call"),
            plural(packets - self._packets, "packet"),
            self._intake.table.slots,
        )
        self._warned, self._packets = now, packets
        calls.clear()

    def tell(self) -> None:
        """Turn the intake's events into lines, and free the rows that the reader has released."""
        for line in self._handover.released():
            if line.row not in self._lines or self._lines[line.row][1] is not line:
                continue
            if line.bank.ended[line.row]:
                self._let_go(line.row)
            else:
                # The daemon refused it: its row cannot serve another while packets still come for it.
                self._refused.add(line.row)
        while self._intake.events:
            event = self._intake.events.popleft()
            if isinstance(event, CallStarted):
                self._begin(event)
            elif isinstance(event, CallEnded):
                self._lines[event.slot][1].move("ended", event.reason)
                if event.slot in self._refused:
                    self._let_go(event.slot)
            elif isinstance(event, CodecChanged | FlawFound | SourceChanged):
                self._change(event)
            else:
                self._names.tell(event.host, event.ssrc, event.cname)

    def _change(self, event: CodecChanged | FlawFound | SourceChanged) -> None:
        """Go on with a call, otherwise than before."""
        started, line = self._lines[event.slot]
        if isinstance(event, FlawFound):
            line.flaw(event.name, event.words)
            return
        if isinstance(event, CodecChanged):
            started = replace(started, kind=event.kind)
        else:
            started = replace(started, ssrc=event.ssrc)
        self._lines[event.slot] = started, line
        words = self._in_words(started)
        if f"{started.ssrc:08x}" != line.labels["ssrc"]:
            words += f", SSRC {started.ssrc:08x} now"
        line.describe(words)

    def _in_words(self, started: CallStarted) -> str:
        codec = self._intake.types.encodings[started.kind]
        which = f", channel: each {started.channel}" if started.channel else ""
        return f"RTP {codec} from {_spelled(started)} at {self._addresses[started.local]}{which}"

    def _let_go(self, row: int) -> None:
        """Free the row and the name of an ended call."""
        started, line = self._lines.pop(row)
        self._refused.discard(row)
        self._names.free(line.name)
        self._intake.release(row, started.generation)

    def _begin(self, started: CallStarted) -> None:
        name = self._names.give(started.host, started.port, started.ssrc, started.channel)
        codec = self._intake.types.encodings[started.kind].name
        labels = {"codec": codec, "source": _spelled(started), "ssrc": f"{started.ssrc:08x}"}
        cname = self._names.cname(started.host, started.ssrc)
        if cname:
            labels["cname"] = cname
        # A thousand calls come and go: of each, a line that an operator must ask for.
        words = self._in_words(started)
        line = Line(name, started.bank, started.slot, words, labels=labels, loudest=logging.INFO)
        self._lines[started.slot] = started, line
        self._handover.begin(line)


def _spelled(started: CallStarted) -> str:
    return f"[{started.host}]:{started.port}" if ":" in started.host else f"{started.host}:{started.port}"
