"""Duty: which streams rest when there are more than can be heard. Those whose answer stands do, in whole spells.

The paper finds that more than 30 s of speech add nothing to an answer. So when there is not time for all, streams that
have had as much are heard for a spell of ten seconds and rest for up to twenty, in turns, and newcomers are heard from
their first word. A stream that rests keeps its answer, and its audio is left out as an announced gap. Nothing is ever
left out within a spell. Knows nothing of clocks, audio or costs: times and room are passed in.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from streamcab.daemon.streams import StreamTable
from streamcab.inference.slots import Slots
from streamcab.message import Prediction

SPEECH_S = 30.0
"""Seconds of speech after which a stream may rest."""
CALM_S = 10.0
"""Seconds for which the answer must have been the same."""
SPELL_S = 10.0
"""Least seconds for which a stream is heard between two rests."""
LEAST = 1 / 3
"""New streams are admitted while those that rest in turns are heard for at least this share of the time."""
REST_S = SPELL_S / LEAST - SPELL_S
"""How long a stream rests then, in seconds."""
SHORTEST_S = 5.0
"""Least seconds of a rest: each rest costs the time of half a second of audio."""
SPARE = 0.8
"""Where those that bring audio are fewer than this share of those that can be heard, nobody need rest any longer."""


class Duty:
    """Rests of the streams of a table, in the columns `resting` and `duty` of it."""

    def __init__(self, streams: StreamTable) -> None:
        self._streams = streams
        self._since = streams.column(np.float64)  # of its spell or its rest, monotonic
        self._calm: NDArray[np.float64] = streams.column(
            np.float64, np.inf
        )  # since when it has had this answer
        self._top = streams.column(np.int16, -1)
        self._settled = streams.column(np.bool_)
        self._sure = streams.column(np.bool_)
        self._spell = streams.column(np.float64)  # length of the last spell

    def judge(self, slot: int, prediction: Prediction, now: float) -> None:
        """Note the newest answer of a stream: whether it stands."""
        top = -1 if prediction.top is None else prediction.labels.index(prediction.top)
        if top != self._top[slot]:
            self._top[slot], self._calm[slot] = top, now
        self._settled[slot] = prediction.heard_s >= SPEECH_S and now - self._calm[slot] >= CALM_S
        self._sure[slot] = bool(prediction.sure)

    @property
    def hearing(self) -> int:
        """Streams that bring audio at a pace of their own, and are heard now."""
        return int(np.count_nonzero(self._streams.flows & ~self._streams.resting))

    def sustained(self) -> float:
        """Return how many streams are heard at a time if all that can rest do so as much as they may."""
        flows = self._streams.flows
        can = flows & (self._settled | self._streams.resting)
        return float(np.count_nonzero(flows)) - (1 - LEAST) * float(np.count_nonzero(can))

    def balance(self, room: float, now: float) -> None:
        """Let streams rest, or hear them again, so that at most `room` are heard: as few rest as possible."""
        self._recover(now)
        streams = self._streams
        flowing = int(np.count_nonzero(streams.flows))
        wanted = 0 if flowing <= room else ceil(flowing - room)
        resting = np.flatnonzero(streams.resting)
        rested = now - self._since[resting]
        # The longest rest ends first; none ends at once, unless there is time for all with something to spare.
        order = np.argsort(-rested, kind="stable")
        if flowing > SPARE * room:
            order = order[rested[order] >= SHORTEST_S]
        resting, rested = resting[order], rested[order]
        missing = wanted - int(np.count_nonzero(streams.resting & streams.flows))
        if not wanted:
            self._wake(resting, now)
            return
        if missing < 0:
            self._wake(resting[:-missing], now)
            return
        # In turns: a rest is to a spell as those that rest are to those that could.
        could = int(np.count_nonzero(streams.flows & ~streams.resting & self._settled))
        due = int(np.count_nonzero(rested >= SPELL_S * wanted / max(could, 1)))
        ready = self._ready(now)
        swapped = max(min(due, len(ready) - missing), 0)
        self._wake(resting[:swapped], now)
        self._rest(ready[: missing + swapped], now)

    def in_words(self) -> str:
        """Return a message to the operator; empty if no stream rests."""
        n = int(np.count_nonzero(self._streams.resting))
        return f"more streams than the machine can hear: {n} rest in turns, their answers stand" if n else ""

    def make_room(self, now: float) -> bool:
        """Let one more stream rest; False if none can."""
        ready = self._ready(now)[:1]
        self._rest(ready, now)
        return len(ready) > 0

    def _ready(self, now: float) -> Slots:
        """Return the streams that may rest now, those first whose answer is sure and that were heard longest."""
        streams = self._streams
        spell = now - self._since
        may = streams.flows & ~streams.resting & self._settled & (spell >= SPELL_S)
        slots = np.flatnonzero(may)
        return slots[np.lexsort((-spell[slots], ~self._sure[slots]))]

    def _rest(self, slots: Slots, now: float) -> None:
        self._spell[slots] = np.minimum(now - self._since[slots], SPEECH_S)
        self._streams.resting[slots] = True
        self._streams.duty[slots] = self._spell[slots] / (self._spell[slots] + REST_S)
        self._since[slots] = now

    def _wake(self, slots: Slots, now: float) -> None:
        streams, rest = self._streams, now - self._since[slots]
        streams.duty[slots] = self._spell[slots] / (self._spell[slots] + rest)
        streams.resting[slots] = False
        streams.turn[slots] = now
        self._since[slots] = now

    def _recover(self, now: float) -> None:
        """Set the duty of streams that have been heard for long without a rest back to 1."""
        done = ~self._streams.resting & (self._streams.duty < 1) & (now - self._since >= SPEECH_S)
        self._streams.duty[done] = 1.0
