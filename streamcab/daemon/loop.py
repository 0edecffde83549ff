"""The daemon: who comes and goes, whose turn it is, and the loop around it, on one inference thread.

Each source captures in a thread of its own; everything after the rings happens here, in `run`. A turn of its loop lets
the ear hear what has arrived for a slice of the streams, in one pass, and the announcer say what is due of it. Late
means: skip to live and say so; the delay never grows. Overloaded or full means: refuse and say so.

Knows nothing of the command line, of the terminal, or of how a source gets its samples.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from streamcab.clock import MACHINE, Clock
from streamcab.daemon.passes import PassRunner
from streamcab.daemon.reporter import Reporter
from streamcab.daemon.scheduler import GATHER, Load, Scheduler
from streamcab.daemon.settings import Settings
from streamcab.daemon.streams import Live, Slots, StreamTable
from streamcab.errors import ConfigError
from streamcab.evidence.layer import evidence_of
from streamcab.inference.answer import PredictionBuilder
from streamcab.inference.engine import Engine
from streamcab.inference.window import Window
from streamcab.nn.backend import Backend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.notify import Supervisor
from streamcab.source import GONE, Source

if TYPE_CHECKING:
    from streamcab.record.recorder import Recorder

log = logging.getLogger("streamcab.daemon")

STATUS_S = 1.0
NAP_S = 0.05
"""How long a new stream may go unseen while there is nothing else to do."""
WARN_S = 10.0
"""Between two warnings of refusals."""
BUNCH = 4
"""Intervals that go through the net together when there are many streams: odd ones wait for the next turn."""
OVERLOAD_S = 1.0
"""A machine that is late for so long is overloaded, and one that was in time for so long is not."""

REFUSALS = {
    "refused-full": "all streams are taken (--max-streams)",
    "refused-overload": "the machine is too slow for more; it takes newcomers again when it is in time",
}
"""Why newcomers are refused: names of counters, and what they mean."""


class Daemon:
    """Answers every stream of `sources` until they are done or `stop` is set. `run` wants a thread of its own.

    endpoint  where the feed is, as it was bound
    settings  may be replaced while it runs (reload.py): the next turn goes by the new ones
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        sources: Sequence[Source],
        settings: Settings,
        backend: Backend | None = None,
        supervisor: Supervisor | None = None,
        clock: Clock = MACHINE,
        recorder: "Recorder | None" = None,
        beside: Sequence[Callable[[], Mapping[str, int]]] = (),
    ) -> None:
        """Warms the net up, binds the feed, starts the sources; any of these may raise a StreamcabError.

        `beside`: what others in this process have counted, for the feed.
        """
        arch = checkpoint.architecture
        if arch.normaliser != "running":
            raise ConfigError(
                f"this model normalises over whole clips ({arch.normaliser!r}) and cannot listen; "
                "train a live one: streamcab train --config configs/live.toml"
            )
        self.settings = settings
        self._clock, self._sources, self._recorder = clock, list(sources), recorder
        self._beside = beside
        self.engine = Engine(checkpoint.model, settings.max_streams, backend)
        length = max(round(settings.window_s / arch.interval_s), 1)
        evidence = evidence_of(checkpoint.model)
        self.window = Window(settings.max_streams, len(arch.labels), arch.classifiers, length, evidence)
        self._roster = StreamTable(self.engine, clock)
        gate = arch.gate if settings.gate is None else settings.gate
        self._ear = PassRunner(self.engine, self.window, self._roster, gate, settings.every_s)
        self._ear.warm_up()
        answers = PredictionBuilder(
            arch, self.window, checkpoint.hash, settings.attention, checkpoint.confidence
        )
        self._announcer = Reporter(checkpoint, settings, self._roster, self._ear, answers, clock, supervisor)
        self.endpoint = self._announcer.feed.endpoint
        self._turns = Scheduler(settings.max_streams, settings.visit_s)
        self._load = Load(settings.budget_ms / 1000, OVERLOAD_S)
        self._names: set[str] = set()
        self._moved: deque[Live] = deque()  # streams whose source is in another state now
        self._arrived = threading.Event()
        self._refused: Counter[str] = Counter()
        self._warned = -inf
        of_source = max((getattr(source, "bytes_per_stream", 0) for source in self._sources), default=0)
        log.info("%d bytes for each of %d streams", self.bytes_per_stream + of_source, settings.max_streams)
        started: list[Source] = []
        try:
            for source in self._sources:
                source.start()
                started.append(source)
        except BaseException:
            for source in started:
                source.close()
            self._announcer.feed.close()
            raise

    @property
    def bytes_per_stream(self) -> int:
        """Memory of one stream in engine and window."""
        return self.engine.bytes_per_slot + self.window.bytes_per_slot

    def run(self, stop: threading.Event, await_subscriber_s: float = 0.0, subscribers: int = 1) -> None:
        """The loop. Returns when `stop` is set or every source is done, after each stream's final message.

        `await_subscriber_s`: wait for so long at most until so many have subscribed, who then miss nothing.
        """
        feed, next_status = self._announcer.feed, 0.0
        turn_s, counted_from, intervals = 0.0, 0.0, 0
        try:
            until = self._clock.monotonic() + await_subscriber_s
            while feed.joined < subscribers and self._clock.monotonic() < until:
                if stop.wait(0.005):
                    break
                feed.poll()
            while not stop.is_set():
                began = self._clock.monotonic()
                self._load.note(self._turns.behind(began), began)
                self._admit(began)
                self._tell_moves()
                self._ear.skip_to_live(self.settings.max_lag_s, self._clock.monotonic())
                slots = self._turns.take(began)
                bunch = BUNCH if len(self._roster) > GATHER else 1
                heard = self._ear.hear(slots, bunch, began, self._announcer.answers)
                self._tell_due(slots)
                intervals += heard
                now = self._clock.monotonic()
                turn_s = max(turn_s, now - began)
                if now >= next_status:
                    self._tell_of_itself(turn_s, intervals / max(now - counted_from, 1e-3))
                    self._announcer.report(intervals)
                    turn_s, counted_from, intervals = 0.0, now, 0
                    next_status = now + STATUS_S
                feed.poll()
                if not len(self._roster) and all(s.done for s in self._sources):
                    break
                self._wait(now, heard)
        finally:
            self._end()

    def _admit(self, now: float) -> None:
        """Newcomers get a slot and a name, or are refused."""
        for source in self._sources:
            for line in source.streams():
                wanted = self.settings.veil.cover(line) if self.settings.veil else line.name
                why = self._refusal(source)
                if why:
                    self._refused[why] += 1
                    if now - self._warned > WARN_S:
                        self._warned = now
                        log.warning("%s and perhaps others refused: %s", wanted, REFUSALS[why])
                    source.release(line)
                    continue
                line.bank.arrived = self._arrived
                slot = self.engine.attach(line.bank, line.row)
                self._ear.reset(slot)
                described = self._announcer.veiled(line, line.description)
                live = Live(line, source, self._name(wanted), slot, described)
                line.changed = partial(self._moved.append, live)
                if self._recorder is not None:
                    self._recorder.begins(live.name, line)
                self._roster.join(live, now)
                self._turns.join(slot, now, source.live)
                self._announcer.begins(live)

    def _refusal(self, source: Source) -> str:
        """Why a stream of this source cannot be taken now, as the name of a counter; empty if it can."""
        if not self.engine.free:
            return "refused-full"
        # What can wait makes nobody late.
        return "refused-overload" if self._load.high and source.live else ""

    def _name(self, wanted: str) -> str:
        """This name, or with a number behind it when it is taken."""
        name, n = wanted, 1
        while name in self._names:
            n += 1
            name = f"{wanted}-{n}"
        self._names.add(name)
        return name

    def _drop(self, live: Live) -> None:
        """A stream is over and has been told so: give back all that it had."""
        self._announcer.ends(live)
        if self._recorder is not None:
            self._recorder.ends(live.line)
        self._roster.leave(live)
        self.engine.detach(live.slot)
        self._turns.leave(live.slot)
        self._names.discard(live.name)
        live.source.release(live.line)

    def _tell_due(self, slots: Slots) -> None:
        """The answers of those of `slots` that have something new to say, if it is time; all last words."""
        now, roster, finished = self._clock.monotonic(), self._roster, self.engine.finished[slots]
        untold = slots[(roster.told[slots] <= now - STATUS_S) & ~finished]
        # Half a visit early is in time: the next one would come half a visit late.
        due = slots[roster.news[slots] & (roster.due[slots] <= now + self._turns.period_s / 2) | finished]
        if len(due):
            roster.news[due] = False
            roster.due[due] = np.maximum(roster.due[due] + self.settings.every_s, now)
            for live in self._announcer.answers(due):
                self._drop(live)
        if len(untold):
            self._announcer.statuses(untold)

    def _tell_moves(self) -> None:
        """The news of sources, at once: without audio, no prediction would carry them."""
        moved: dict[int, Live] = {}
        while self._moved:
            live = self._moved.popleft()
            if self._roster.has(live):
                moved[live.slot] = live
        if not moved:
            return
        slots = np.array(list(moved), np.intp)
        for live in moved.values():
            if live.line.state in GONE:
                live.state = "lost"
        self._roster.news[slots], self._roster.due[slots] = True, 0.0
        self._announcer.statuses(slots)

    def _tell_of_itself(self, turn_s: float, intervals_per_s: float) -> None:
        rescue = self._ear.rescue
        counters = self._refused + Counter(
            {
                "skips": self._ear.skips,
                "feed-refused": self._announcer.feed.refused,
                "passes-failed": rescue.failures,
            }
        )
        for source in self._sources:
            counters.update(source.counters())
        if self._recorder is not None:
            counters.update(self._recorder.counters())
        for counted in self._beside:
            counters.update(counted())
        detail = filter(None, (rescue.in_words(self._clock.monotonic()), self._load.in_words()))
        self._announcer.itself(turn_s, intervals_per_s, counters, "; ".join(detail))

    def _wait(self, now: float, heard: int) -> None:
        """Until it is somebody's turn; or, of streams that no clock paces, until something has arrived."""
        left = min(self._turns.wait(now), NAP_S)
        if left > 0:
            self._clock.sleep(left)
        elif not heard:
            self._clock.wait(self._arrived, NAP_S)
            self._arrived.clear()

    def _end(self) -> None:
        """Close the sources, answer what they have left, say goodbye for each stream."""
        self._announcer.stopping()
        for source in self._sources:
            source.close()
        for live in self._roster:
            live.line.bank.finish(live.line.row)
        self._ear.hear_out(self._clock.monotonic(), self._announcer.answers)
        self._tell_due(self._roster.slots())
        self._announcer.feed.close(linger_s=0.5)
