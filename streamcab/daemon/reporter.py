"""What the daemon says: the messages of its feed, to its supervisor that all is well, in its log who comes and goes.

Knows nothing of how an answer comes about, nor of when something is due: it says what it is asked to say.
"""

import logging
from collections.abc import Mapping

import numpy as np

from streamcab.clock import Clock
from streamcab.daemon.settings import Settings
from streamcab.daemon.streams import Live, StreamTable
from streamcab.feed import Publisher
from streamcab.inference.answer import PredictionBuilder, Standings
from streamcab.inference.slots import Slots
from streamcab.inference.window import Reading
from streamcab.message import DAEMON, DaemonStatus, ModelInfo, Status
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.notify import Supervisor
from streamcab.source import Line

log = logging.getLogger("streamcab.daemon")


class Reporter:
    """Of the streams of a table, on `feed`, the publisher that it binds."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: Settings,
        streams: StreamTable,
        gate: bool,
        clock: Clock,
        supervisor: Supervisor | None,
    ) -> None:
        """Binds the feed; FeedError when it cannot. `gate`: whether only voiced intervals vote."""
        self._checkpoint, self._settings = checkpoint, settings
        self._streams, self._gate, self._clock = streams, gate, clock
        self._predictions = PredictionBuilder(checkpoint.architecture, checkpoint.hash, checkpoint.confidence)
        self.feed = Publisher(settings.endpoint, keys=settings.keys, ipc_group=settings.ipc_group)
        self._started = clock.monotonic()
        self._supervisor, self._ready = supervisor, False

    def veiled(self, line: Line, text: str) -> str:
        """What is said of a stream, without what would tell whose it is, if that shall be hidden."""
        veil = self._settings.veil
        return veil.of(line, text) if text and veil else text

    def begins(self, live: Live) -> None:
        """A stream is answered from now on."""
        log.info("%s begins", live.name)
        log.debug("%s is %s", live.name, live.description)
        self.feed.publish(self._model_info(live))

    def ends(self, live: Live) -> None:
        """A stream has had its last words: whoever subscribes now shall not hear of it."""
        detail = self.veiled(live.line, live.line.detail)
        log.info("%s ended%s", live.name, f": {detail}" if detail else "")
        self.feed.forget(live.name)

    def predictions(self, reading: Reading, standings: Standings) -> list[Live]:
        """The answers of some streams; those whose state is another now, or why it is."""
        changed = []
        lives = self._streams.of(reading.slots)
        for live, prediction in zip(lives, self._predictions.of(reading, standings), strict=True):
            self.feed.publish(prediction)
            live.told = prediction
            if prediction.state != live.state or live.line.detail != live.detail:
                live.state, live.detail = prediction.state, live.line.detail
                changed.append(live)
        return changed

    def statuses(self, slots: Slots) -> None:
        """How the sources of some streams are doing."""
        now, unix = self._clock.monotonic(), self._clock.time()
        self._streams.told[slots] = now
        s = self._streams.standings(slots, now)
        captured_s, classified_s = (s.written / s.rate).round(3), (s.sample / s.rate).round(3)
        columns = (s.rate, captured_s, classified_s, s.lag_ms.round(1), s.lost_ms.round(1), s.overflows)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for live, row in zip(self._streams.of(slots), rows, strict=True):
            rate, captured, classified, lag, lost, overflows = row
            told = live.told
            self.feed.publish(
                Status(
                    stream=live.name,
                    time=unix,
                    state=live.state,
                    source=self._described(live),
                    rate=rate,
                    captured_s=captured,
                    classified_s=classified,
                    lag_ms=lag,
                    lost_ms=lost,
                    overflows=overflows,
                    detail=self.veiled(live.line, live.line.detail),
                    source_state="ended" if live.state == "ended" else live.line.state,
                    flaws=[*live.flaws, *live.line.flaws, *(told.flaws if told else [])],
                    speech_s=told.heard_s if told else 0.0,
                    hears=told.hears if told else "silence",
                    snr_db=told.snr_db if told else None,
                )
            )

    def _described(self, live: Live) -> str:
        """What a stream comes from, without what would tell whose it is; worked out again when it has changed."""
        words = live.line.in_words
        if words != live.words:
            live.words, live.description = words, self.veiled(live.line, words)
        return live.description

    def itself(self, turn_s: float, intervals_per_s: float, counters: Mapping[str, int], detail: str) -> None:
        """How the daemon is doing: its longest turn, its rate, what it has counted, what an operator should know."""
        self.feed.publish(
            DaemonStatus(
                stream=DAEMON,
                time=self._clock.time(),
                streams=len(self._streams),
                pass_ms=round(turn_s * 1000, 2),
                intervals_per_s=round(intervals_per_s, 1),
                lost_ms=round(self._streams.all_lost_ms, 1),
                uptime_s=round(self._clock.monotonic() - self._started, 1),
                counters=dict(counters),
                detail=detail,
            )
        )

    def report(self, answered: bool, in_time: bool) -> None:
        """To the supervisor that all is well, if so: some interval was answered since the last time, or none waits."""
        supervisor = self._supervisor
        if supervisor is None:
            return
        if not self._ready:
            # Sources without a stream, such as a socket between calls, are open and deliver what comes.
            self._ready = answered or not len(self._streams)
            (supervisor.ready if self._ready else supervisor.waiting)(self._in_words())
        elif answered or in_time:
            supervisor.alive(self._in_words())

    def stopping(self) -> None:
        """To the supervisor that the end has begun."""
        if self._supervisor is not None:
            self._supervisor.stopping()

    def _in_words(self) -> str:
        """What `systemctl status` shows."""
        standings = self._streams.standings(self._streams.slots, self._clock.monotonic())
        heard = int(np.count_nonzero(~standings.lost))
        lost = [name for name, gone in zip(standings.stream, standings.lost, strict=True) if gone]
        words = [f"{heard} stream{'s' * (heard != 1)}"]
        if lost:
            words.append(f"{', '.join(lost[:3])}{' and others' * (len(lost) > 3)} lost: reconnecting")
        if not self._ready:
            words.append("waiting for the first audio")
        elif heard:
            words.append(f"{standings.lag_ms[~standings.lost].max() / 1000:.1f} s behind")
        words.append(f"model {self._checkpoint.card.get('name', 'unnamed')} {self._checkpoint.hash}".rstrip())
        return ", ".join(words)

    def _model_info(self, live: Live) -> ModelInfo:
        arch, card = self._checkpoint.architecture, self._checkpoint.card
        return ModelInfo(
            stream=live.name,
            time=self._clock.time(),
            model=self._checkpoint.hash,
            name=str(card.get("name", "unnamed")),
            labels=list(arch.labels),
            rate=arch.rate,
            normaliser=arch.normaliser,
            gate=self._gate,
            window_s=self._settings.window_s,
            licence=str(card.get("licence", "")),
            corpus=str(card.get("corpus", "")),
            temperature=self._checkpoint.confidence.temperature,
            abstain_below=self._checkpoint.confidence.abstain_below,
        )
