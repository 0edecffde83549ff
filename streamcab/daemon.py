"""The daemon: sources, engine, windows and feed, wired together on one inference thread.

Each source captures in a thread of its own; everything after the rings happens here, in `run`. A turn of its loop takes in
what has arrived for all streams, answers it in one pass, and publishes what is due. Late means: skip to live and say so;
the delay never grows. Full means: refuse and say so.

Knows nothing of the command line, of the terminal, or of how a source gets its samples.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.answer import Answers, Standing
from streamcab.backend import Backend
from streamcab.checkpoint import Checkpoint
from streamcab.engine import Emitted, Engine
from streamcab.errors import ConfigError
from streamcab.feed import Publisher
from streamcab.keys import ServerKeys
from streamcab.message import DAEMON, DaemonStatus, ModelInfo, State, Status
from streamcab.notify import Supervisor
from streamcab.ring import Bank
from streamcab.source import Line, Source
from streamcab.window import Window

log = logging.getLogger("streamcab.daemon")

STATUS_S = 1.0
PAUSE_PER_STREAM = 1e-4
"""Seconds between passes, for each stream: few streams are answered at once, many in passes worth their cost."""
LONGEST_PAUSE = 0.1
KEEP_S = 0.2
"""What is left to be heard after a skip to live."""


@dataclass(frozen=True)
class Settings:
    """What `listen` can be told of the daemon itself.

    window_s   seconds of stream time that an answer rests on        every_s  seconds between a stream's predictions
    max_lag_s  waiting audio beyond which a live stream skips to now  gate    None: as the checkpoint says
    keys       whose holders alone are served                        ipc_group  that shares an ipc endpoint
    """

    endpoint: str
    window_s: float = 30.0
    every_s: float = 0.1
    max_lag_s: float = 2.0
    max_streams: int = 64
    gate: bool | None = None
    attention: bool = True
    keys: ServerKeys | None = None
    ipc_group: str | None = None

    def __post_init__(self) -> None:
        for name in ("window_s", "every_s", "max_lag_s", "max_streams"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name.removesuffix('_s')} is {getattr(self, name)}; it must be more than 0")
        if self.max_lag_s < 2 * KEEP_S:
            raise ConfigError(f"max_lag is {self.max_lag_s}; it must be at least {2 * KEEP_S}")


@dataclass
class _Live:
    """A stream that is being answered."""

    line: Line
    source: Source
    name: str
    slot: int
    due: float
    state: State = "warming"
    detail: str = ""
    power: float = 0.0
    news: bool = True
    warned: float = -1e9


class Daemon:
    """Answers every stream of `sources` until they are done or `stop` is set. Run it in a thread of its own."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        sources: Sequence[Source],
        settings: Settings,
        backend: Backend | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        """Binds the feed, warms the net up and starts the sources; any of these may raise a StreamcabError."""
        arch = checkpoint.architecture
        if arch.normaliser != "running":
            raise ConfigError(
                f"this model normalises over whole clips ({arch.normaliser!r}) and cannot listen; "
                "train a live one: streamcab train --config configs/live.toml"
            )
        self.settings = settings
        self.checkpoint = checkpoint
        self.gate = arch.gate if settings.gate is None else settings.gate
        self.engine = Engine(checkpoint.model, settings.max_streams, backend)
        length = max(round(settings.window_s / arch.interval_s), 1)
        self.window = Window(settings.max_streams, len(arch.labels), arch.classifiers, length)
        self._answers = Answers(arch, self.window, checkpoint.hash, settings.attention)
        self._sources = list(sources)
        self._live: dict[int, _Live] = {}
        self._names: set[str] = set()
        self._arrived = threading.Event()
        self._banks: set[int] = set()
        self.counters: Counter[str] = Counter()
        self._lost_before_ms = 0.0
        self._supervisor = supervisor
        self._ready = False
        self._warm_up()
        self._publisher = Publisher(settings.endpoint, keys=settings.keys, ipc_group=settings.ipc_group)
        self.endpoint = self._publisher.endpoint
        self._started = time.monotonic()
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

    def run(self, stop: threading.Event, await_subscriber_s: float = 0.0) -> None:
        """The loop. Returns when `stop` is set or every source is done, after each stream's final message.

        `await_subscriber_s`: wait for so long at most until somebody has subscribed, who then misses nothing.
        """
        next_status = 0.0
        pass_s, passes, intervals = 0.0, 0.0, 0
        try:
            until = time.monotonic() + await_subscriber_s
            while not self._publisher.joined and time.monotonic() < until and not stop.wait(0.005):
                self._publisher.poll()
            while not stop.is_set():
                self._admit()
                began = time.monotonic()
                self._skip_to_live()
                emitted = self.engine.advance()
                intervals += self._hear(emitted)
                self._publish_due()
                now = time.monotonic()
                pass_s = max(pass_s, now - began)
                if now >= next_status:
                    self._publish_status(pass_s, intervals / max(now - passes, 1e-3))
                    if self._supervisor is not None:
                        self._report(self._supervisor, intervals)
                    pass_s, passes, intervals = 0.0, now, 0
                    next_status = now + STATUS_S
                self._publisher.poll()
                if not self._live and all(s.done for s in self._sources):
                    break
                self._wait(began)
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

    def _admit(self) -> None:
        for source in self._sources:
            for line in source.streams():
                if not self.engine.free:
                    self.counters["refused-full"] += 1
                    log.warning("%s refused: all %d streams are taken", line.name, self.settings.max_streams)
                    source.release(line)
                    continue
                if id(line.bank) not in self._banks:
                    line.bank.arrived = self._arrived
                    self._banks.add(id(line.bank))
                slot = self.engine.attach(line.bank, line.row)
                self.window.reset(np.array([slot]))
                # Spread over the period, or a thousand calls that begin together would publish together for ever.
                due = time.monotonic() + self.settings.every_s * (slot % 32) / 32
                live = _Live(line, source, self._name(line.name), slot, due)
                self._live[slot] = live
                log.info("%s begins: %s", live.name, line.description)
                self._publisher.publish(self._model_info(live))
                self._publisher.publish(self._status(live))

    def _name(self, wanted: str) -> str:
        name, n = wanted, 1
        while name in self._names:
            n += 1
            name = f"{wanted}-{n}"
        self._names.add(name)
        return name

    def _skip_to_live(self) -> None:
        """Streams that the world paces and that wait too long lose the oldest, not the newest."""
        for bank, slots, waiting in self.engine.backlog():
            limit = round(self.settings.max_lag_s * bank.rate)
            for slot, samples in zip(slots[waiting > limit], waiting[waiting > limit], strict=True):
                live = self._live.get(int(slot))
                if live is None or not live.source.live or live.line.bank.ended[live.line.row]:
                    continue
                lost = self.engine.skip(int(slot), int(samples - KEEP_S * bank.rate))
                self.counters["skips"] += 1
                now = time.monotonic()
                if now - live.warned > 10:
                    live.warned = now
                    log.warning(
                        "%s: %.0f ms were waiting; skipped %.0f ms to be live again. If this repeats, the machine is too "
                        "slow for its streams: lower --max-streams",
                        live.name,
                        samples / bank.rate * 1000,
                        lost / bank.rate * 1000,
                    )

    def _hear(self, emitted: Sequence[Emitted]) -> int:
        """Into the windows with what the engine has answered; how many intervals it was."""
        for e in emitted:
            votes = e.votes(self.gate)
            paced = np.array([self._live[s].source.live for s in e.slots.tolist()])
            if paced.any():
                self.window.add(e.slots[paced], e.first[paced], e.c[paced], e.alpha[paced], votes[paced])
            for slot, power in zip(e.slots.tolist(), e.power.mean(1).tolist(), strict=True):
                live = self._live[slot]
                live.power, live.news = power, True
            for i in np.flatnonzero(~paced):
                self._hear_fast(e, i, votes)
        return sum(e.kind.size for e in emitted)

    def _hear_fast(self, e: Emitted, i: int, votes: NDArray[np.bool_]) -> None:
        """A stream that no clock paces is told its answer for each `every_s` of its own time."""
        row = slice(i, i + 1)
        live = self._live[int(e.slots[i])]
        every = max(round(self.settings.every_s / self.engine.architecture.interval_s), 1)
        for j in range(e.c.shape[1]):
            col = slice(j, j + 1)
            k = e.first[row] + j
            self.window.add(e.slots[row], k, e.c[row, col], e.alpha[row, col], votes[row, col])
            if k[0] >= 0 and (k[0] + 1) % every == 0:
                live.power = float(e.power[i, j])
                self._publish([live], int(k[0]) + 1 + self.engine.delay)
                live.news = False

    def _publish_due(self) -> None:
        now = time.monotonic()
        every = self.settings.every_s
        # Half an interval early is in time: the next chance may come half an interval late.
        soon = now + self.engine.architecture.interval_s / 2
        due = [v for v in self._live.values() if (v.news and v.due <= soon) or self.engine.finished[v.slot]]
        for live in due:
            live.news = False
            live.due = max(live.due + every, now)
        if due:
            self._publish(due)

    def _publish(self, lives: Sequence[_Live], intervals: int | None = None) -> None:
        """The answers of some streams as they stand; `intervals`: how far these have come, if not as the engine has."""
        now = time.monotonic()
        standings = [self._standing(v, now, intervals) for v in lives]
        answers = self._answers.of(np.array([v.slot for v in lives]), standings)
        for live, prediction in zip(lives, answers, strict=True):
            self._publisher.publish(prediction)
            if prediction.state != live.state or live.line.detail != live.detail:
                live.state, live.detail = prediction.state, live.line.detail
                self._publisher.publish(self._status(live))
            if live.state == "ended":
                self._drop(live)

    def _standing(self, live: _Live, now: float, intervals: int | None = None) -> Standing:
        bank, row = live.line.bank, live.line.row
        ended = bool(self.engine.finished[live.slot]) and intervals is None
        written = int(bank.written[row])
        heard = int(self.engine.stepped[live.slot]) if intervals is None else intervals
        sample = written if ended else min(self.engine.sample(live.slot, heard), written)
        captured = float(bank.stamp[row]) - (written - sample) / bank.rate if written else now
        return Standing(
            stream=live.name,
            time=time.time() - (now - captured),
            sample=sample,
            rate=bank.rate,
            power=live.power,
            lag_ms=max(now - captured, 0.0) * 1000,
            lost_ms=self._lost_ms(live),
            overflows=int(bank.overflows[row]),
            ended=ended,
            lost=live.line.state == "lost",
        )

    def _lost_ms(self, live: _Live) -> float:
        bank, row = live.line.bank, live.line.row
        return float(self.engine.dropped[live.slot] + bank.skipped[row]) / bank.rate * 1000

    def _drop(self, live: _Live) -> None:
        """A stream is over and has been told so: give back all that it had."""
        log.info("%s ended%s", live.name, f": {live.line.detail}" if live.line.detail else "")
        self._lost_before_ms += self._lost_ms(live)
        self.engine.detach(live.slot)
        del self._live[live.slot]
        self._names.discard(live.name)
        self._publisher.forget(live.name)
        live.source.release(live.line)

    def _publish_status(self, pass_s: float, rate: float) -> None:
        for live in self._live.values():
            lost = live.line.state == "lost"
            if lost and live.state != "lost":
                # No audio, so no prediction will carry the news.
                live.state, live.news, live.due = "lost", True, 0.0
            self._publisher.publish(self._status(live))
        counters = self.counters + Counter({"feed-refused": self._publisher.refused})
        for source in self._sources:
            counters.update(source.counters())
        self._publisher.publish(
            DaemonStatus(
                stream=DAEMON,
                time=time.time(),
                streams=len(self._live),
                pass_ms=round(pass_s * 1000, 2),
                intervals_per_s=round(rate, 1),
                lost_ms=round(self._lost_before_ms + sum(map(self._lost_ms, self._live.values())), 1),
                uptime_s=round(time.monotonic() - self._started, 1),
                counters=dict(counters),
            )
        )

    def _report(self, supervisor: Supervisor, intervals: int) -> None:
        """Tell that all is well, if so: intervals were answered since the last time, or no audio waits."""
        if not self._ready:
            # Sources without a stream, such as a socket between calls, are open and deliver what comes.
            self._ready = bool(intervals) or not self._live
            (supervisor.ready if self._ready else supervisor.waiting)(self._in_words())
        elif intervals or not any((w > KEEP_S * bank.rate).any() for bank, _, w in self.engine.backlog()):
            supervisor.alive(self._in_words())

    def _in_words(self) -> str:
        now = time.monotonic()
        heard = [v for v in self._live.values() if v.line.state != "lost"]
        lost = [v.name for v in self._live.values() if v.line.state == "lost"]
        words = [f"{len(heard)} stream{'s' * (len(heard) != 1)}"]
        if lost:
            words.append(f"{', '.join(lost[:3])}{' and others' * (len(lost) > 3)} lost: reconnecting")
        if not self._ready:
            words.append("waiting for the first audio")
        elif heard:
            words.append(f"{max(self._standing(v, now).lag_ms for v in heard) / 1000:.1f} s behind")
        words.append(f"model {self.checkpoint.card.get('name', 'unnamed')} {self.checkpoint.hash}".rstrip())
        return ", ".join(words)

    def _status(self, live: _Live) -> Status:
        standing = self._standing(live, time.monotonic())
        bank, row = live.line.bank, live.line.row
        return Status(
            stream=live.name,
            time=time.time(),
            state=live.state,
            source=live.line.description,
            rate=bank.rate,
            captured_s=round(float(bank.written[row]) / bank.rate, 3),
            classified_s=round(standing.sample / bank.rate, 3),
            lag_ms=round(standing.lag_ms, 1),
            lost_ms=round(standing.lost_ms, 1),
            overflows=standing.overflows,
            detail=live.line.detail,
        )

    def _model_info(self, live: _Live) -> ModelInfo:
        arch, card = self.checkpoint.architecture, self.checkpoint.card
        return ModelInfo(
            stream=live.name,
            time=time.time(),
            model=self.checkpoint.hash,
            name=str(card.get("name", "unnamed")),
            labels=list(arch.labels),
            rate=arch.rate,
            normaliser=arch.normaliser,
            gate=self.gate,
            window_s=self.settings.window_s,
            licence=str(card.get("licence", "")),
            corpus=str(card.get("corpus", "")),
        )

    def _wait(self, began: float) -> None:
        """Until something has arrived, and not before the pause that the number of streams asks for."""
        pause = min(len(self._live) * PAUSE_PER_STREAM, LONGEST_PAUSE)
        left = began + pause - time.monotonic()
        if left > 0:
            time.sleep(left)
        self._arrived.wait(0.05)
        self._arrived.clear()

    def _end(self) -> None:
        """Close the sources, answer what they have left, say goodbye for each stream."""
        if self._supervisor is not None:
            self._supervisor.stopping()
        for source in self._sources:
            source.close()
        for live in self._live.values():
            live.line.bank.finish(live.line.row)
        self._hear(self.engine.advance())
        self._publish_due()
        self._publisher.close(linger_s=0.5)
