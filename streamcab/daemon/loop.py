"""The daemon: admits and removes streams, and runs the loop of turns, on one inference thread.

Each source captures in its own thread; all work after the rings is done here, in `run`. In each turn of the loop one
pass processes the samples that have arrived for a slice of the streams, and the reporter publishes the due answers. If
there is no time for all, streams whose answer stands rest in turns; if there is not even time for the others, new
streams wait, and are reported. A stream that is late all the same skips to the present, so the delay never grows.

Knows nothing of the command line, of the terminal, or of how a source gets its samples.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from streamcab.clock import MACHINE, Clock
from streamcab.daemon.admission import Admission
from streamcab.daemon.delivery import STATUS_S, Delivery
from streamcab.daemon.passes import PassRunner
from streamcab.daemon.reporter import Reporter
from streamcab.daemon.scheduler import GATHER, Load, Scheduler
from streamcab.daemon.settings import Settings
from streamcab.daemon.streams import Live, StreamNames, StreamTable
from streamcab.errors import ConfigError
from streamcab.feed import Publisher
from streamcab.inference.engine import Engine
from streamcab.inference.slots import Slots
from streamcab.inference.window import window_of
from streamcab.message import AnyMessage
from streamcab.nn.backend import Backend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.notify import Supervisor
from streamcab.source import Line, Source, Speaking

if TYPE_CHECKING:
    from streamcab.record.recorder import Recorder

log = logging.getLogger("streamcab.daemon")

NAP_S = 0.05
"""Longest time in seconds before a new stream is noticed while the daemon is idle."""
OVERLOAD_S = 1.0
"""A machine that is late for this many seconds is overloaded, until it has been in time for as long."""


class Daemon:
    """Answers every stream of `sources` until they are done or `stop` is set. `run` needs its own thread.

    endpoint  address of the feed, as it was bound
    settings  may be replaced while it runs (reload.py): the next turn uses the new every_s, max_lag_s and budget_ms
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
        taps: Sequence[Callable[[AnyMessage], None]] = (),
        run: str | None = None,
        names: StreamNames | None = None,
        feed: Publisher | None = None,
    ) -> None:
        """Warm up the network, bind the feed and start the sources; each of these may raise a StreamcabError.

        `beside`: returns the counters of other parts of this process, for the feed. `taps`: take its messages.
        `run`: identifies this run in the feed; random unless given. `names`: those in use, if other processes use
        some too. `feed`: publishes, in place of one at `settings.endpoint`.
        """
        arch = checkpoint.architecture
        if arch.normaliser != "running":
            raise ConfigError(
                f"this model normalises over whole clips ({arch.normaliser!r}) and cannot listen; "
                "train a live one: streamcab train --config configs/live.toml"
            )
        self.settings = self._applied = settings
        self._clock, self._sources, self._recorder = clock, list(sources), recorder
        recorded = [recorder.counters] if recorder is not None else []
        self._counted = [*(source.counters for source in sources), *recorded, *beside]
        self._streams = StreamTable(arch, settings.max_streams, clock, names)
        self.engine = Engine(checkpoint.net, self._streams, backend)
        length = arch.intervals(settings.window_s)
        self.window = window_of(checkpoint.net, settings.max_streams, length, settings.voices)
        gate = arch.gate if settings.gate is None else settings.gate
        self._passes = PassRunner(
            self.engine, self.window, self._streams, gate=gate, attention=settings.attention
        )
        self._admission = Admission(self._streams, cost=self._passes.warm_up())
        feed = feed or Publisher(settings.endpoint, run, keys=settings.keys, ipc_group=settings.ipc_group)
        self._reporter = Reporter(checkpoint, settings, self._streams, gate, clock, supervisor, taps, feed)
        self._delivery = Delivery(
            self._streams, self._passes, self._reporter, self._admission, clock, self.engine.delay
        )
        self.endpoint = self._reporter.feed.endpoint
        self._scheduler = Scheduler(self._streams, settings.visit_s)
        self._load = Load(settings.budget_ms / 1000, OVERLOAD_S)
        self._admitted = -inf
        self._arrived = threading.Event()
        of_source = max((getattr(source, "bytes_per_stream", 0) for source in self._sources), default=0)
        log.info(
            "%d bytes of memory for each of %d streams",
            self.bytes_per_stream + of_source,
            settings.max_streams,
        )
        started: list[Source] = []
        try:
            for source in self._sources:
                source.start()
                started.append(source)
        except BaseException:
            for source in started:
                source.close()
            self._reporter.feed.close()
            raise

    @property
    def bytes_per_stream(self) -> int:
        """Memory of one stream in bytes, without its ring."""
        return self._streams.bytes_per_slot

    def run(self, stop: threading.Event, await_subscriber_s: float = 0.0, subscribers: int = 1) -> None:
        """Run the loop until `stop` is set or every source is done, and publish each stream's final message.

        `await_subscriber_s`: wait at most this long for `subscribers` subscribers, so that they miss nothing.
        """
        feed, next_status = self._reporter.feed, 0.0
        second = self.engine.architecture.interval_s
        turn_s, counted_from, intervals = 0.0, 0.0, 0
        try:
            until = self._clock.monotonic() + await_subscriber_s
            while feed.joined < subscribers and self._clock.monotonic() < until:
                if stop.wait(0.005):
                    break
                feed.poll()
            while not stop.is_set():
                began, computed = self._clock.monotonic(), self.engine.steps.computed
                self._apply(self.settings, began)
                self._load.note(self._scheduler.behind(began), began)
                self._admit(began)
                self._delivery.moves()
                dropped_s = self._passes.skip_to_live(self.settings.max_lag_s, self._clock.monotonic())
                slots = self._scheduler.take(began)
                heard, unpaced = self._turn(slots, began)
                intervals += heard
                now = self._clock.monotonic()
                turn_s = max(turn_s, now - began)
                busy = now - began if len(slots) else 0.0
                computed = self.engine.steps.computed - computed
                self._admission.note(busy, computed * second, unpaced * second, dropped_s)
                self._admission.balance(now, self._passes.waiting_s)
                if now >= next_status:
                    self._tell_of_itself(turn_s, intervals / max(now - counted_from, 1e-3))
                    in_time = bool(intervals) or not self._passes.behind()
                    self._reporter.report(bool(intervals), in_time)
                    turn_s, counted_from, intervals = 0.0, now, 0
                    next_status = now + STATUS_S
                feed.poll()
                if not len(self._streams) + len(self._admission) and all(s.done for s in self._sources):
                    break
                self._wait(now, heard)
        finally:
            self._end()

    def _turn(self, slots: Slots, now: float) -> tuple[int, int]:
        """Begin the pass of a turn, and answer those that are computed: usually the last one's.

        Returns the intervals that were heard, and those of them that are of streams without a pace.
        """
        heard = unpaced = 0
        every_s, more = self.settings.every_s, lambda: self._scheduler.wait(self._clock.monotonic()) <= 0
        for answered, done in self._passes.turn(slots, now, every_s, more):
            self._delivery.by_stream(done.due)
            self._deliver(answered)
            heard, unpaced = heard + done.heard, unpaced + done.unpaced
        return heard, unpaced

    def _apply(self, settings: Settings, now: float) -> None:
        """Apply these settings from now on, if they have changed."""
        if settings is self._applied:
            return
        self._applied = settings
        self._scheduler.period_s, self._load.budget_s = settings.visit_s, settings.budget_ms / 1000
        np.minimum(self._streams.due, now + settings.every_s, out=self._streams.due)

    def _admit(self, now: float) -> None:
        """Give a slot and a name to each new stream for which there is time."""
        for source in self._sources:
            for line in source.streams():
                self._admission.offer(source, line)
        # Among many, those that begin together are computed together: alone, each costs several times as much.
        if len(self._streams) > GATHER and now < self._admitted + self._scheduler.period_s:
            return
        self._admitted = now
        for source, line in self._admission.admitted(self._load.high, now, self._wanted):
            line.bank.arrived = self._arrived
            described = self._reporter.veiled(line, line.description)
            turn = self._scheduler.first(now)
            live = self._streams.join(line, source, now, self._wanted(line), described, turn)
            line.changed = partial(self._delivery.moved.append, live)
            if self._recorder is not None:
                self._recorder.begins(live.name, line)
            self._reporter.begins(live)
            self._delivery.statuses(np.array([live.slot]))

    def _wanted(self, line: Line) -> str:
        """Return the name of a line, hidden if names are hidden."""
        return self.settings.pseudonyms.cover(line) if self.settings.pseudonyms else line.name

    def _deliver(self, slots: Slots) -> None:
        """Deliver what is due by the clock, and remove the streams that have ended."""
        for live in self._delivery.by_clock(slots, self.settings.every_s, self._scheduler.period_s):
            self._drop(live)

    def _drop(self, live: Live) -> None:
        """Release everything that a stream used, after its final message."""
        self._reporter.ends(live)
        if self._recorder is not None:
            self._recorder.ends(live.line)
        self._streams.leave(live)
        live.source.release(live.line)

    def _tell_of_itself(self, turn_s: float, intervals_per_s: float) -> None:
        own = Counter({"feed-refused": self._reporter.feed.refused}) + self._passes.counters()
        counters = self._admission.refused + own
        for counted in self._counted:
            counters.update(counted())
        said = [source.in_words for source in self._sources if isinstance(source, Speaking)]
        full = self._load.in_words(), *self._admission.in_words()
        detail = filter(None, (self._passes.retry.in_words(self._clock.monotonic()), *full, *said))
        self._reporter.itself(turn_s, intervals_per_s, counters, "; ".join(detail))

    def _wait(self, now: float, heard: int) -> None:
        """Wait for the next turn or, with streams that are not paced, for samples."""
        left = min(self._scheduler.wait(now), NAP_S)
        if left > 0:
            self._clock.sleep(left)
        elif not heard:
            self._clock.wait(self._arrived, NAP_S)
            self._arrived.clear()

    def _end(self) -> None:
        """Close the sources, answer their remaining samples, and publish each stream's final message."""
        self._reporter.stopping()
        for source in self._sources:
            source.close()
        for live in self._streams:
            live.line.bank.finish(live.line.row)
        self._delivery.by_stream(self._passes.run_out(self._clock.monotonic(), self.settings.every_s).due)
        self._deliver(self._streams.slots)
        self._reporter.feed.close(linger_s=0.5)
