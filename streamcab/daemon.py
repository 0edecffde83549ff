"""The daemon: sources, engine, windows and feed, wired together on one inference thread.

Each source captures in a thread of its own; everything after the rings happens here, in `run`. A turn of
its loop takes in what has arrived for a slice of the streams, answers it in one pass, and publishes what
is due of it. Late means: skip to live and say so; the delay never grows. Overloaded or full means: refuse
and say so.

Knows nothing of the command line, of the terminal, or of how a source gets its samples.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamcab.answer import Answers
from streamcab.backend import Backend
from streamcab.checkpoint import Checkpoint
from streamcab.clock import MACHINE, Clock
from streamcab.engine import Emitted, Engine
from streamcab.errors import ComputeError, ConfigError
from streamcab.feed import Publisher
from streamcab.flaws import Flaws
from streamcab.keys import ServerKeys
from streamcab.message import DAEMON, DaemonStatus, ModelInfo, Status
from streamcab.moments import evidence_of
from streamcab.notify import Supervisor
from streamcab.rescue import Rescue
from streamcab.ring import Bank
from streamcab.roster import Live, Roster
from streamcab.source import GONE, Line, Source
from streamcab.turns import GATHER, Load, Turns
from streamcab.veil import Veil
from streamcab.window import Window

if TYPE_CHECKING:
    from streamcab.recorder import Recorder

log = logging.getLogger("streamcab.daemon")

STATUS_S = 1.0
NAP_S = 0.05
"""How long a new stream may go unseen while there is nothing else to do."""
WARN_S = 10.0
"""Between warnings of one kind."""
OVERLOAD_S = 1.0
"""A machine that is late for so long is overloaded, and one that was in time for so long is not."""
BUNCH = 4
"""Intervals that go through the net together when there are many streams: odd ones wait for the next turn."""
KEEP_S = 0.2
"""What is left to be heard after a skip to live."""


@dataclass(frozen=True)
class Settings:
    """What `listen` can be told of the daemon itself.

    window_s   seconds of stream time that an answer rests on
    every_s    seconds between a stream's predictions
    max_lag_s  waiting audio beyond which a live stream skips to now
    gate       None: as the checkpoint says
    budget_ms  how long audio may wait for its turn, and how late a turn may be before newcomers are refused
    keys       whose holders alone are served                        ipc_group  that shares an ipc endpoint
    veil       hides the names of streams
    """

    endpoint: str
    window_s: float = 30.0
    every_s: float = 0.1
    max_lag_s: float = 2.0
    max_streams: int = 64
    gate: bool | None = None
    attention: bool = True
    budget_ms: float = 250.0
    keys: ServerKeys | None = None
    ipc_group: str | None = None
    veil: Veil | None = None

    def __post_init__(self) -> None:
        for name in ("window_s", "every_s", "max_lag_s", "max_streams", "budget_ms"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name.removesuffix('_s')} is {getattr(self, name)}; it must be more than 0"
                )
        if self.max_lag_s < 2 * KEEP_S:
            raise ConfigError(f"max_lag is {self.max_lag_s}; it must be at least {2 * KEEP_S}")

    @property
    def visit_s(self) -> float:
        """Seconds between two visits to a stream: a whole part of `every_s`, well within the budget."""
        return self.every_s / ceil(self.every_s / (0.8 * self.budget_ms / 1000))


REFUSALS = {
    "refused-full": "all streams are taken (--max-streams)",
    "refused-overload": "the machine is too slow for more; it takes newcomers again when it is in time",
}
"""Why newcomers are refused: names of counters, and what they mean."""


class Daemon:
    """Answers every stream of `sources` until they are done or `stop` is set. Has a thread of its own."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        sources: Sequence[Source],
        settings: Settings,
        backend: Backend | None = None,
        supervisor: Supervisor | None = None,
        clock: Clock = MACHINE,
        recorder: "Recorder | None" = None,
    ) -> None:
        """Binds the feed, warms the net up, starts the sources; any of these may raise a StreamcabError."""
        arch = checkpoint.architecture
        if arch.normaliser != "running":
            raise ConfigError(
                f"this model normalises over whole clips ({arch.normaliser!r}) and cannot listen; "
                "train a live one: streamcab train --config configs/live.toml"
            )
        self.settings = settings
        self._clock = clock
        self.checkpoint = checkpoint
        self.gate = arch.gate if settings.gate is None else settings.gate
        self.engine = Engine(checkpoint.model, settings.max_streams, backend)
        length = max(round(settings.window_s / arch.interval_s), 1)
        evidence = evidence_of(checkpoint.model)
        self.window = Window(settings.max_streams, len(arch.labels), arch.classifiers, length, evidence)
        self._answers = Answers(arch, self.window, checkpoint.hash, settings.attention, checkpoint.confidence)
        self._sources = list(sources)
        self._roster = Roster(self.engine, clock)
        self._rescue = Rescue(self.engine)
        self._turns = Turns(settings.max_streams, settings.visit_s)
        self._load = Load(settings.budget_ms / 1000, OVERLOAD_S)
        self._flaws = Flaws(settings.max_streams)
        self._names: set[str] = set()
        self._moved: deque[Live] = deque()  # streams whose source is in another state now
        self._arrived = threading.Event()
        self.counters: Counter[str] = Counter()
        self._warned_of_refusal = self._warned_of_skip = -inf
        self._supervisor = supervisor
        self._recorder = recorder
        self._ready = False
        self._warm_up()
        self._publisher = Publisher(settings.endpoint, keys=settings.keys, ipc_group=settings.ipc_group)
        self.endpoint = self._publisher.endpoint
        of_source = max((getattr(source, "bytes_per_stream", 0) for source in self._sources), default=0)
        log.info("%d bytes for each of %d streams", self.bytes_per_stream + of_source, settings.max_streams)
        self._started = self._clock.monotonic()
        started: list[Source] = []
        try:
            for source in self._sources:
                source.start()
                started.append(source)
        except BaseException:
            for source in started:
                source.close()
            self._publisher.close()
            raise

    @property
    def bytes_per_stream(self) -> int:
        """Memory of one stream in engine and window."""
        return self.engine.bytes_per_slot + self.window.bytes_per_slot

    def run(self, stop: threading.Event, await_subscriber_s: float = 0.0, subscribers: int = 1) -> None:
        """The loop. Returns when `stop` is set or every source is done, after each stream's final message.

        `await_subscriber_s`: wait for so long at most until so many have subscribed, who then miss nothing.
        """
        next_status = 0.0
        pass_s, passes, intervals = 0.0, 0.0, 0
        try:
            until = self._clock.monotonic() + await_subscriber_s
            while self._publisher.joined < subscribers and self._clock.monotonic() < until:
                if stop.wait(0.005):
                    break
                self._publisher.poll()
            while not stop.is_set():
                began = self._clock.monotonic()
                self._load.note(self._turns.behind(began), began)
                self._admit(began)
                self._tell_moves()
                self._skip_to_live()
                slots = self._turns.take(began)
                heard = self._hear(self._advance(slots, began))
                self._publish_due(slots)
                intervals += heard
                now = self._clock.monotonic()
                pass_s = max(pass_s, now - began)
                if now >= next_status:
                    self._publish_status(pass_s, intervals / max(now - passes, 1e-3))
                    if self._supervisor is not None:
                        self._report(self._supervisor, intervals)
                    pass_s, passes, intervals = 0.0, now, 0
                    next_status = now + STATUS_S
                self._publisher.poll()
                if not len(self._roster) and all(s.done for s in self._sources):
                    break
                self._wait(now, heard)
        finally:
            self._end()

    def _warm_up(self) -> None:
        """Let the backend allocate and compile before the first stream depends on it."""
        arch = self.engine.architecture
        bank = Bank(arch.rate, 1, 4 * arch.rate)
        slot = self.engine.attach(bank, 0)
        noise = np.random.default_rng(0).standard_normal(2 * arch.rate).astype(np.float32)
        bank.write(0, noise * np.linspace(0.01, 0.3, len(noise), dtype=np.float32), 0.0)
        bank.finish(0)
        self.engine.advance()
        self.engine.detach(slot)

    def _admit(self, now: float) -> None:
        for source in self._sources:
            for line in source.streams():
                wanted = self.settings.veil.cover(line) if self.settings.veil else line.name
                why = self._refusal(source)
                if why:
                    self.counters[why] += 1
                    if now - self._warned_of_refusal > WARN_S:
                        self._warned_of_refusal = now
                        log.warning("%s and perhaps others refused: %s", wanted, REFUSALS[why])
                    source.release(line)
                    continue
                line.bank.arrived = self._arrived
                slot = self.engine.attach(line.bank, line.row)
                self.window.reset(np.array([slot]))
                live = Live(line, source, self._name(wanted), slot, self._of(line, line.description))
                line.changed = partial(self._moved.append, live)
                if self._recorder is not None:
                    self._recorder.begins(live.name, line)
                self._roster.join(live, now)
                self._turns.join(slot, now, source.live)
                self._flaws.reset(slot)
                log.info("%s begins", live.name)
                log.debug("%s is %s", live.name, live.description)
                self._publisher.publish(self._model_info(live))
                self._publish_statuses(np.array([slot]))

    def _of(self, line: Line, text: str) -> str:
        """What is said of a stream, without what would tell whose it is, if that shall be hidden."""
        return self.settings.veil.of(line, text) if text and self.settings.veil else text

    def _refusal(self, source: Source) -> str:
        """Why a stream of this source cannot be taken now, as the name of a counter; empty if it can."""
        if not self.engine.free:
            return "refused-full"
        # What can wait makes nobody late.
        return "refused-overload" if self._load.high and source.live else ""

    def _name(self, wanted: str) -> str:
        name, n = wanted, 1
        while name in self._names:
            n += 1
            name = f"{wanted}-{n}"
        self._names.add(name)
        return name

    def _skip_to_live(self) -> None:
        """Streams that the world paces and that wait too long lose the oldest, not the newest."""
        skipped, lost_s, now = 0, 0.0, self._clock.monotonic()
        for bank, slots, waiting in self.engine.backlog():
            late = (waiting > self.settings.max_lag_s * bank.rate) & self._roster.paced[slots]
            late &= ~bank.ended[self._roster.rows(slots)]
            if late.any():
                skipped += int(late.sum())
                left_out = self._rescue.skip(slots[late], waiting[late] - int(KEEP_S * bank.rate), now)
                lost_s += float(left_out.sum()) / bank.rate
        self.counters["skips"] += skipped
        if skipped and now - self._warned_of_skip > WARN_S:
            self._warned_of_skip = now
            log.warning(
                "%d streams had waited for %g s: skipped %.1f s of audio to be live again. If this repeats, "
                "the machine is too slow for its streams: lower --max-streams",
                skipped,
                self.settings.max_lag_s,
                lost_s,
            )

    def _advance(self, slots: NDArray[np.intp], now: float) -> list[Emitted]:
        """A pass over some streams. One that fails costs a gap; a stream that fails always costs that stream."""
        emitted = self._rescue.advance(slots, BUNCH if len(self._roster) > GATHER else 1, now)
        while self._rescue.hopeless:
            slot, why = self._rescue.hopeless.popitem()
            self._roster[slot].line.move("ended", f"an error inside streamcab: {why}", level=logging.ERROR)
            self.engine.finished[slot] = True
        return emitted

    def _hear(self, emitted: Sequence[Emitted]) -> int:
        """Into the windows with what the engine has answered; how many intervals it was."""
        for e in emitted:
            votes = e.votes(self.gate)
            paced = self._roster.paced[e.slots]
            if paced.all():
                self.window.add(e.slots, e.first, e.c, e.alpha, votes, e.u)
            elif paced.any():
                some = e.of(paced)
                self.window.add(some.slots, some.first, some.c, some.alpha, votes[paced], some.u)
            self._roster.power[e.slots] = e.power.mean(1)
            self._roster.news[e.slots] = True
            for i in np.flatnonzero(~paced).tolist():
                self._hear_fast(e, i, votes)
        return sum(e.kind.size for e in emitted)

    def _hear_fast(self, e: Emitted, i: int, votes: NDArray[np.bool_]) -> None:
        """A stream that no clock paces is told its answer for each `every_s` of its own time."""
        slot = int(e.slots[i])
        every = max(round(self.settings.every_s / self.engine.architecture.interval_s), 1)
        for j in range(e.c.shape[1]):
            one = e.at(i, j)
            k = int(one.first[0])
            self.window.add(one.slots, one.first, one.c, one.alpha, votes[i : i + 1, j : j + 1], one.u)
            if k >= 0 and (k + 1) % every == 0:
                self._roster.power[slot] = e.power[i, j]
                self._publish(one.slots, k + 1 + self.engine.delay)
                self._roster.news[slot] = False

    def _publish_due(self, slots: NDArray[np.intp]) -> None:
        """The answers of those of `slots` that have something new to say, if it is time; all last words."""
        now, roster, finished = self._clock.monotonic(), self._roster, self.engine.finished[slots]
        untold = slots[(roster.told[slots] <= now - STATUS_S) & ~finished]
        # Half a visit early is in time: the next one would come half a visit late.
        due = slots[roster.news[slots] & (roster.due[slots] <= now + self._turns.period_s / 2) | finished]
        if len(due):
            roster.news[due] = False
            roster.due[due] = np.maximum(roster.due[due] + self.settings.every_s, now)
            self._publish(due)
        if len(untold):
            self._publish_statuses(untold)

    def _publish(self, slots: NDArray[np.intp], intervals: int | None = None) -> None:
        """The answers of some streams as they stand; `intervals` as in `Roster.standings`."""
        standings = self._roster.standings(slots, self._clock.monotonic(), intervals)
        for live, prediction in zip(self._roster.of(slots), self._answers.of(slots, standings), strict=True):
            self._publisher.publish(prediction)
            if prediction.state != live.state or live.line.detail != live.detail:
                live.state, live.detail = prediction.state, live.line.detail
                self._publish_statuses(np.array([live.slot]))
            if live.state == "ended":
                self._drop(live)

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
        self._publish_statuses(slots)

    def _examine(self, slots: NDArray[np.intp], now: float) -> None:
        """What is wrong with the samples of some streams; each change is a line in the log."""
        lives, flaws = self._roster.of(slots), self._flaws
        refused = np.array([live.line.refused for live in lives], np.int64)
        for which, bank, rows in self._roster.by_bank(slots):
            flaws.look(slots[which], bank, rows, refused[which], now)
        for live, silent in zip(lives, flaws.silent(slots, now).tolist(), strict=True):
            if silent and live.line.state == "live":
                live.line.move("silent", "every sample is 0: is it muted?", only_from="live")
            elif live.line.state == "silent" and not silent:
                live.line.move("live", only_from="silent")
        for slot, found in flaws.changed(slots, now):
            live = self._roster[slot]
            live.flaws = found
            log.log(
                min(logging.WARNING, live.line.loudest),
                "%s: what is wrong with its samples: %s",
                live.name,
                ", ".join(found) or "nothing any more",
            )

    def _publish_statuses(self, slots: NDArray[np.intp]) -> None:
        """How the sources of some streams are doing."""
        now, unix = self._clock.monotonic(), self._clock.time()
        self._roster.told[slots] = now
        self._examine(slots, now)
        s = self._roster.standings(slots, now)
        captured_s, classified_s = (s.written / s.rate).round(3), (s.sample / s.rate).round(3)
        columns = (s.rate, captured_s, classified_s, s.lag_ms.round(1), s.lost_ms.round(1), s.overflows)
        for live, row in zip(
            self._roster.of(slots), zip(*(c.tolist() for c in columns), strict=True), strict=True
        ):
            rate, captured, classified, lag, lost, overflows = row
            self._publisher.publish(
                Status(
                    stream=live.name,
                    time=unix,
                    state=live.state,
                    source=live.description,
                    rate=rate,
                    captured_s=captured,
                    classified_s=classified,
                    lag_ms=lag,
                    lost_ms=lost,
                    overflows=overflows,
                    detail=self._of(live.line, live.line.detail),
                    source_state="ended" if live.state == "ended" else live.line.state,
                    flaws=live.flaws,
                )
            )

    def _drop(self, live: Live) -> None:
        """A stream is over and has been told so: give back all that it had."""
        detail = self._of(live.line, live.line.detail)
        log.info("%s ended%s", live.name, f": {detail}" if detail else "")
        if self._recorder is not None:
            self._recorder.ends(live.line)
        self._roster.leave(live)
        self.engine.detach(live.slot)
        self._turns.leave(live.slot)
        self._names.discard(live.name)
        self._publisher.forget(live.name)
        live.source.release(live.line)

    def _publish_status(self, pass_s: float, rate: float) -> None:
        now = self._clock.monotonic()
        counters = self.counters + Counter(
            {"feed-refused": self._publisher.refused, "passes-failed": self._rescue.failures}
        )
        for source in self._sources:
            counters.update(source.counters())
        if self._recorder is not None:
            counters.update(self._recorder.counters())
        self._publisher.publish(
            DaemonStatus(
                stream=DAEMON,
                time=self._clock.time(),
                streams=len(self._roster),
                pass_ms=round(pass_s * 1000, 2),
                intervals_per_s=round(rate, 1),
                lost_ms=round(self._roster.all_lost_ms, 1),
                uptime_s=round(now - self._started, 1),
                counters=dict(counters),
                detail="; ".join(filter(None, (self._rescue.in_words(now), self._load.in_words()))),
            )
        )

    def _report(self, supervisor: Supervisor, intervals: int) -> None:
        """Tell that all is well, if so: intervals were answered since the last time, or no audio waits."""
        if not self._ready:
            # Sources without a stream, such as a socket between calls, are open and deliver what comes.
            self._ready = bool(intervals) or not len(self._roster)
            (supervisor.ready if self._ready else supervisor.waiting)(self._in_words())
        elif intervals or not any((w > KEEP_S * bank.rate).any() for bank, _, w in self.engine.backlog()):
            supervisor.alive(self._in_words())

    def _in_words(self) -> str:
        standings = self._roster.standings(self._roster.slots(), self._clock.monotonic())
        heard = int(np.count_nonzero(~standings.lost))
        lost = [name for name, gone in zip(standings.stream, standings.lost, strict=True) if gone]
        words = [f"{heard} stream{'s' * (heard != 1)}"]
        if lost:
            words.append(f"{', '.join(lost[:3])}{' and others' * (len(lost) > 3)} lost: reconnecting")
        if not self._ready:
            words.append("waiting for the first audio")
        elif heard:
            words.append(f"{standings.lag_ms[~standings.lost].max() / 1000:.1f} s behind")
        words.append(f"model {self.checkpoint.card.get('name', 'unnamed')} {self.checkpoint.hash}".rstrip())
        return ", ".join(words)

    def _model_info(self, live: Live) -> ModelInfo:
        arch, card = self.checkpoint.architecture, self.checkpoint.card
        return ModelInfo(
            stream=live.name,
            time=self._clock.time(),
            model=self.checkpoint.hash,
            name=str(card.get("name", "unnamed")),
            labels=list(arch.labels),
            rate=arch.rate,
            normaliser=arch.normaliser,
            gate=self.gate,
            window_s=self.settings.window_s,
            licence=str(card.get("licence", "")),
            corpus=str(card.get("corpus", "")),
            temperature=self.checkpoint.confidence.temperature,
            abstain_below=self.checkpoint.confidence.abstain_below,
        )

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
        if self._supervisor is not None:
            self._supervisor.stopping()
        for source in self._sources:
            source.close()
        for live in self._roster:
            live.line.bank.finish(live.line.row)
        with suppress(ComputeError):  # then the last words come without the last intervals
            self._hear(self._rescue.advance(None, 1, self._clock.monotonic()))
        self.engine.finished[self._roster.slots()] = True
        self._publish_due(self._roster.slots())
        self._publisher.close(linger_s=0.5)
