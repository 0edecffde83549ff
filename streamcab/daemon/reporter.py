"""Publishes the messages of the feed, notifies the supervisor, and logs streams that begin and end.

Knows nothing of how an answer is computed, or of when it is due: the caller decides.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from streamcab.clock import Clock
from streamcab.daemon.settings import Settings
from streamcab.daemon.streams import Live, StreamTable
from streamcab.feed import Publisher
from streamcab.inference.answer import PredictionBuilder, Standings, withheld
from streamcab.inference.reading import Reading
from streamcab.inference.slots import Slots
from streamcab.message import DAEMON, AnyMessage, DaemonStatus, ModelInfo, Status
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.notify import Supervisor
from streamcab.source import Line
from streamcab.text import plural

log = logging.getLogger("streamcab.daemon")


class Reporter:
    """Reports on the streams of a table; `feed` is the publisher that it binds."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: Settings,
        streams: StreamTable,
        gate: bool,
        clock: Clock,
        supervisor: Supervisor | None,
        taps: Sequence[Callable[[AnyMessage], None]] = (),
        feed: Publisher | None = None,
    ) -> None:
        """Bind the feed unless one is given; FeedError if this fails.

        `gate`: whether only voiced intervals vote. `taps`: take every message in this thread, and must not block.
        """
        self._checkpoint, self._settings = checkpoint, settings
        self._streams, self._gate, self._clock = streams, gate, clock
        self._predictions = PredictionBuilder(checkpoint.architecture, checkpoint.hash, checkpoint.confidence)
        self.feed = feed or Publisher(settings.endpoint, keys=settings.keys, ipc_group=settings.ipc_group)
        self._taps = list(taps)
        self._started = clock.monotonic()
        self._supervisor, self._ready = supervisor, False

    def veiled(self, line: Line, text: str) -> str:
        """Return a text about a stream; with hidden names, without the parts that identify it."""
        pseudonyms = self._settings.pseudonyms
        return pseudonyms.of(line, text) if text and pseudonyms else text

    def begins(self, live: Live) -> None:
        """Announce a new stream."""
        log.info("%s begins", live.name)
        log.debug("%s is %s", live.name, live.description)
        self._say(self._model_info(live))

    def ends(self, live: Live) -> None:
        """Remove a stream after its final message, so that later subscribers do not receive it."""
        detail = self.veiled(live.line, live.line.detail)
        log.info("%s ended%s", live.name, f": {detail}" if detail else "")
        self.feed.forget(live.name)

    def predictions(self, reading: Reading, standings: Standings) -> list[Live]:
        """Publish the answers of some streams; return the streams whose state or detail has changed."""
        changed = []
        lives = self._streams.of(reading.slots)
        for live, prediction in zip(lives, self._predictions.of(reading, standings), strict=True):
            if live.line.flaws and (flaws := live.line.unbelievable):
                prediction = withheld(prediction, flaws)
            self._say(prediction)
            live.told = prediction
            if prediction.state != live.state or live.line.detail != live.detail:
                live.state, live.detail = prediction.state, live.line.detail
                changed.append(live)
        return changed

    def statuses(self, slots: Slots) -> None:
        """Publish the status of the sources of some streams."""
        now, unix = self._clock.monotonic(), self._clock.time()
        self._streams.told[slots] = now
        s = self._streams.standings(slots, now)
        captured_s, classified_s = (s.written / s.rate).round(3), (s.sample / s.rate).round(3)
        times = captured_s, classified_s, s.lag_ms.round(1), s.lost_ms.round(1)
        columns = s.rate, *times, s.overflows, s.duty.round(2)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for live, row in zip(self._streams.of(slots), rows, strict=True):
            rate, captured, classified, lag, lost, overflows, duty = row
            told = live.told
            self._say(
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
                    flaws=list(dict.fromkeys([*live.flaws, *live.line.flaws, *(told.flaws if told else [])])),
                    speech_s=told.heard_s if told else 0.0,
                    hears=told.hears if told else "silence",
                    snr_db=told.snr_db if told else None,
                    duty=duty,
                    voice=told.voice if told else 1,
                    call=self._call(live.line),
                )
            )

    def _say(self, message: AnyMessage) -> None:
        """Publish a message, and hand it to the taps; one that fails is given up, since the feed goes on."""
        self.feed.publish(message)
        for tap in self._taps:
            try:
                tap(message)
            except Exception:
                self._taps = [other for other in self._taps if other is not tap]
                log.exception("calls are no longer kept: an error inside streamcab")

    def _call(self, line: Line) -> dict[str, str]:
        """Return what the platform says of a call; with hidden names, only what tells nobody apart."""
        if not self._settings.pseudonyms:
            return line.call
        return {k: v for k, v in line.call.items() if k in ("platform", "track")}

    def _described(self, live: Live) -> str:
        """Return the description of a stream's source, with hidden parts removed; recomputed when it has changed."""
        words = live.line.in_words
        if words != live.words:
            live.words, live.description = words, self.veiled(live.line, words)
        return live.description

    def itself(self, turn_s: float, intervals_per_s: float, counters: Mapping[str, int], detail: str) -> None:
        """Publish the state of the daemon: longest turn, rate, counters, and a message to the operator."""
        self._say(
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
        """Tell the supervisor that the daemon works, if intervals were answered since the last report or none waits."""
        supervisor = self._supervisor
        if supervisor is None:
            return
        if not self._ready:
            # A source without a stream, such as a socket between calls, is open and will deliver.
            self._ready = answered or not len(self._streams)
            (supervisor.ready if self._ready else supervisor.waiting)(self._in_words())
        elif answered or in_time:
            supervisor.alive(self._in_words())

    def stopping(self) -> None:
        """Tell the supervisor that the daemon is stopping."""
        if self._supervisor is not None:
            self._supervisor.stopping()

    def _in_words(self) -> str:
        """Return the status text for `systemctl status`."""
        standings = self._streams.standings(self._streams.slots, self._clock.monotonic())
        heard = int(np.count_nonzero(~standings.lost))
        lost = [name for name, gone in zip(standings.stream, standings.lost, strict=True) if gone]
        words = [plural(heard, "stream")]
        if lost:
            words.append(f"{', '.join(lost[:3])}{' and others' * (len(lost) > 3)} lost: reconnecting")
        if not self._ready:
            words.append("waiting for the first audio")
        elif heard:
            waiting = (standings.written - standings.sample) / standings.rate
            words.append(f"{waiting[~standings.lost].max():.1f} s behind")
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
            abstain_other=self._checkpoint.confidence.abstain_other,
        )
