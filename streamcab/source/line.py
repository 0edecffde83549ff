"""One stream as its source sees it, and the states that a source goes through.

    starting -----> live <----> silent        silent: samples come, all of them zero
                    |  ^
                    v  |
                  stalled                     nothing comes, and nothing says why
                    |
                    v
                   lost ---> reconnecting ---> live
    any of them --> ended

Two threads move a line on, the source's and the reader's; a move that is not in this picture came too late and is
refused. Each move is one line in the log, whose record carries the line, for those who must hide names. Knows nothing
of devices, packets or answers.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from streamcab.audio.ring import Bank
from streamcab.message import SourceState
from streamcab.text import printable

log = logging.getLogger("streamcab.source")

UNBELIEVABLE = frozenset({"encrypted?"})
"""Flaws with which samples are nobody's speech: no answer is given, whatever a detector or a net makes of them."""
GONE: frozenset[SourceState] = frozenset({"lost", "reconnecting"})
"""Nothing can come now."""
MOVES: dict[SourceState, frozenset[SourceState]] = {
    "starting": frozenset({"live", "lost", "ended"}),
    "live": frozenset({"silent", "stalled", "lost", "ended"}),
    "silent": frozenset({"live", "stalled", "lost", "ended"}),
    "stalled": frozenset({"live", "lost", "ended"}),
    "lost": frozenset({"reconnecting", "live", "ended"}),
    "reconnecting": frozenset({"live", "ended"}),
    "ended": frozenset(),
}
_LEVEL: dict[SourceState, int] = {
    "live": logging.INFO,
    "silent": logging.WARNING,
    "stalled": logging.WARNING,
    "lost": logging.WARNING,
    "reconnecting": logging.INFO,
    "ended": logging.INFO,
}


@dataclass(eq=False)
class Line:
    """A row of a bank, with a name and a state.

    labels    what the source knows that tells whose the stream is: its file, device or address; complete from the start
    loudest   level of its log lines at most: one microphone may warn, a thousand calls may not
    changed   is called after each move, by the thread that made it
    """

    name: str
    bank: Bank
    row: int
    description: str
    """What the samples come from, in words, for people."""
    state: SourceState = "live"
    detail: str = ""
    """Why the state is what it is; often empty."""
    labels: dict[str, str] = field(default_factory=dict)
    call: dict[str, str] = field(default_factory=dict)
    """What a telephony platform says of the call: `platform`, `track`, `call`, and what its customer added."""
    flaws: dict[str, str] = field(default_factory=dict)
    """What is wrong with how the samples come: names, each with words."""
    refused: int = 0
    """Samples that were no numbers."""
    loudest: int = logging.ERROR
    changed: Callable[[], object] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def in_words(self) -> str:
        """Its description, with the defects in how its samples arrive."""
        return "; ".join([self.description, *self.flaws.copy().values()])

    @property
    def unbelievable(self) -> list[str]:
        """The flaws for which its samples get no answer."""
        return [name for name in self.flaws.copy() if name in UNBELIEVABLE]

    def describe(self, description: str) -> None:
        """Describe what its samples come from now, or in which other way."""
        self.description = description
        self._say(logging.INFO, description)

    def flaw(self, name: str, words: str) -> None:
        """Report a defect in how the samples arrive; without words, its end."""
        if words:
            self.flaws[name] = words
        else:
            self.flaws.pop(name, None)
        self._say(logging.WARNING, f"{name}: {words or 'not any more'}")

    def _say(self, level: int, text: str) -> None:
        log.log(min(level, self.loudest), "%s: %s", self.name, text, extra={"line": self})
        if self.changed is not None:
            self.changed()

    def move(
        self,
        to: SourceState,
        why: str = "",
        *,
        only_from: SourceState | None = None,
        level: int | None = None,
    ) -> bool:
        """Move into another state, if it can be reached from here, or only from one; return whether it was.

        `why` goes into the log and becomes the detail, but for `live`, which needs no reason. In the state that it
        is in already, only the detail changes.
        """
        why = printable(why)
        with self._lock:
            was = self.state
            if only_from not in (None, was):
                return False
            if to not in MOVES[was] | {was}:
                return False
            self.state, self.detail = to, "" if to == "live" else why
            if to == was:
                return False
        if level is None:
            level = logging.WARNING if to == "live" and was not in ("starting", "live") else _LEVEL[to]
        again = " again" if to == "live" and was != "starting" else ""
        log.log(
            min(level, self.loudest),
            "%s: %s%s%s",
            self.name,
            to,
            again,
            f": {why}" if why else "",
            extra={"line": self},
        )
        if self.changed is not None:
            self.changed()
        return True

    def __post_init__(self) -> None:
        """Clean what goes into the feed and onto terminals: a file may have any name."""
        self.description, self.detail = printable(self.description), printable(self.detail)
