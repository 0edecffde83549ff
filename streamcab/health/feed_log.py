"""Writes the feed to a file, line by line, until told to stop.

Owns the loop between the feed and `jsonl.JsonLinesFile`. Knows nothing of rotation.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from streamcab.errors import StreamcabError
from streamcab.feed import Subscriber
from streamcab.health.jsonl import JsonLinesFile
from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, encode

TURN_S = 0.5
LAST_WORDS_S = 0.2
"""How long the last words of a feed that is ending are waited for."""
SAY_S = 10.0
"""Between complaints about one and the same trouble."""


@dataclass
class Thinning:
    """Selects the messages to write: all, one per stream and kind every `every_s`, or only the `last` of each.

    The last words of a stream are always written, and so are models. A change of state is written at once.
    """

    every_s: float = 0.0
    last: bool = False
    _written: dict[tuple[str, type[AnyMessage]], tuple[float, str]] = field(default_factory=dict)

    def keeps(self, message: AnyMessage) -> bool:
        """Return whether to write the next message of the feed."""
        if isinstance(message, ModelInfo):
            return not self.last
        key = message.stream, type(message)
        state = "" if isinstance(message, DaemonStatus) else message.state
        if state == "ended":
            self._written.pop(key, None)
            return True
        if self.last or not self.every_s:
            return not self.last
        at, before = self._written.get(key, (float("-inf"), ""))
        # A clock that is set back does not stop the file.
        if state == before and 0 <= message.time - at < self.every_s:
            return False
        self._written[key] = message.time, state
        return True


def record(
    feed: Subscriber,
    lines: JsonLinesFile,
    stop: threading.Event,
    reopen: threading.Event,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    thinning: Thinning | None = None,
) -> None:
    """Write every message as it was on the wire; messages that cannot be written or never arrived are reported."""
    wanted = (thinning or Thinning()).keeps
    missed, dropped, told = 0, 0, float("-inf")
    failing, news = False, ""  # what has been said, what has not
    while not stop.is_set():
        first = feed.recv(TURN_S)
        if reopen.is_set():
            reopen.clear()
            try:
                lines.reopen()
            except StreamcabError as error:  # the next lines try again
                say(str(error))
        if first is None:
            continue
        wrong = lines.write([encode(message) for message in (first, *feed.drain()) if wanted(message)])
        news = wrong or news
        due = clock() - told >= SAY_S
        if not lines.failing and (failing or (due and lines.dropped > dropped)):
            failing, dropped, news = False, lines.dropped, ""
            say(f"{lines.path} is written again; lines missing so far: {dropped}")
        if due and (news or feed.missed > missed):
            told = clock()
            if news:
                say(news)
                failing, news = lines.failing, ""
            if feed.missed > missed:
                say(f"{feed.missed} messages never arrived so far: this reads too slowly, or the way is bad")
                missed = feed.missed
    last = feed.recv(LAST_WORDS_S)
    lines.write([encode(message) for message in (last, *feed.drain()) if message and wanted(message)])
