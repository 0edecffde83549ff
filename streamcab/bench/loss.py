"""`bench loss`: how lost packets and codecs change the answers.

Clips become RTP packets, some of which never arrive, and go through the real intake and engine, all clips
side by side, as fast as they are classified: time is the packets' own. Each clip's final answer over all
its voiced intervals is compared with the answer for the file itself. Knows nothing of sockets or
processes.
"""

import csv
import random
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.bench.speech import at_rate, bundled_clips, encode
from streamcab.bench.traffic import Losses
from streamcab.classifier import Classifier
from streamcab.errors import ConfigError, SourceError
from streamcab.inference.answer import PredictionBuilder, Standing
from streamcab.inference.engine import Engine
from streamcab.inference.window import window_of
from streamcab.nn.backend import make_backend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.rtp.batch import Batch
from streamcab.rtp.codec import Encoding
from streamcab.rtp.decoder import Decoders, available
from streamcab.rtp.events import CallEnded, CallStarted
from streamcab.rtp.intake import Intake
from streamcab.rtp.payload import PayloadTypes
from streamcab.source.file import SOUNDS, read_audio
from streamcab.text import opened

FRAME_S = 0.02
SHARES = (0.0, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3)
CODECS = {
    "pcmu": (0, Encoding("PCMU", 8000)),
    "pcma": (8, Encoding("PCMA", 8000)),
    "opus": (97, Encoding("OPUS", 48000)),
}
OPUS_BITS = 24_000
BLOCK = 25
"""Frames between two passes of the engine: half a second, where the rings hold four."""
SLACK_S = 2.0
"""By which the window is longer than the longest call: none of it is forgotten."""
SENDER = ("192.0.2.1", 4000)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Clips:
    """The audio that is played: files, and a name for them."""

    name: str
    files: Sequence[Path]
    speakers: int | None


@dataclass(frozen=True)
class Row:
    """One condition. `change` of a clip is the largest change of any label's probability."""

    codec: str
    loss: float
    burst: bool
    clips: int
    agree: int
    mean_change: float
    max_change: float
    silent: int
    """Clips without any answer."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def choose(data: Path | None, most: int, seed: int) -> Clips:
    """Choose up to `most` files of a folder or manifest, drawn by `seed`; without one, the synthetic clips."""
    if data is None:
        return Clips("synthetic clips", bundled_clips()[:most], None)
    speakers: dict[Path, str] = {}
    if data.is_dir():
        files = sorted(f for f in data.rglob("*") if f.suffix.lower() in SOUNDS)
    else:
        try:
            with opened(data) as file:
                rows = list(csv.DictReader(file))
            files = [data.parent / row["path"] for row in rows]
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{data}: cannot be read: {error}") from None
        except KeyError:
            raise ConfigError(f"{data}: a manifest is a CSV file with a column `path`") from None
        speakers = {f: row["speaker"] for f, row in zip(files, rows, strict=True) if row.get("speaker")}
    if not files:
        raise SourceError(f"{data}: holds no audio files")
    chosen = sorted(random.Random(seed).sample(files, min(most, len(files))))
    known = {speakers[f] for f in chosen if f in speakers}
    return Clips(data.stem if data.is_dir() else data.parent.name, chosen, len(known) or None)


def conditions() -> list[tuple[str, float, bool]]:
    """Yield codec, share of packets lost, and whether they are lost in bursts."""
    codecs = ["pcmu", "pcma", *(["opus"] if available() else [])]
    lossy = [("pcmu", share, burst) for burst in (False, True) for share in SHARES[1:]]
    opus = [("opus", share, False) for share in SHARES[1:] if "opus" in codecs]
    return [*((codec, 0.0, False) for codec in codecs), *lossy, *opus]


def compare(
    checkpoint: Checkpoint,
    clips: Clips,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    under: Sequence[tuple[str, float, bool]] | None = None,
) -> list[Row]:
    """Measure each condition: a row each."""
    classifier = Classifier(checkpoint)
    sounds = [read_audio(f) for f in clips.files]
    labels = checkpoint.architecture.labels
    clean = np.zeros((len(sounds), len(labels)))
    for probs, (samples, rate) in zip(clean, sounds, strict=True):
        answer = classifier.classify(samples, rate).probs
        probs[:] = [answer.get(label, 0.0) for label in labels]
    calls: dict[str, list[list[bytes]]] = {}
    rows = []
    for codec, share, burst in conditions() if under is None else under:
        if codec not in calls:
            calls = {codec: [packets(codec, *sound) for sound in sounds]}
        heard = play(checkpoint, codec, calls[codec], Losses(len(sounds), share, burst, seed))
        change = np.abs(heard - clean).max(1)
        spoken = heard.any(1)
        agree = (heard.argmax(1) == clean.argmax(1)) & (spoken == clean.any(1))
        row = Row(
            codec=codec,
            loss=share,
            burst=burst,
            clips=len(sounds),
            agree=int(agree.sum()),
            mean_change=round(float(change.mean()), 5),
            max_change=round(float(change.max()), 5),
            silent=int((~spoken).sum()),
        )
        rows.append(row)
        say(f"{codec} {share:.0%}{' in bursts' if burst else ''}: {row.agree} of {row.clips} agree")
    return rows


def packets(codec: str, samples: Samples, rate: int) -> list[bytes]:
    """Cut a clip into payloads of FRAME_S each; the last fraction is left out."""
    encoding = CODECS[codec][1]
    there = at_rate(samples, rate, encoding.rate)
    frame = round(encoding.rate * FRAME_S)
    whole = there[: len(there) // frame * frame]
    if codec == "opus":
        return _opus(whole, frame)
    return [bytes(row) for row in encode(codec, whole).reshape(-1, frame)]


def _opus(samples: Samples, frame: int) -> list[bytes]:
    import av

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "mono", "s16"
    encoder.bit_rate = OPUS_BITS
    made: list[bytes] = []
    whole = np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)
    for row in whole.reshape(-1, frame):
        piece = av.AudioFrame.from_ndarray(row[None], format="s16", layout="mono")
        piece.sample_rate = 48000
        made += [bytes(packet) for packet in encoder.encode(piece)]
    return made + [bytes(packet) for packet in encoder.encode(None)]


def play(
    checkpoint: Checkpoint, codec: str, calls: Sequence[Sequence[bytes]], losses: Losses
) -> NDArray[np.float64]:
    """Play every call through intake, engine and window; return its final answer (calls, labels), zeros if there is
    none."""
    kind, encoding = CODECS[codec]
    decoders = Decoders(len(calls)) if encoding.stateful else None
    intake = Intake(PayloadTypes({kind: encoding}, {}), len(calls), decoders=decoders)
    try:
        return _Play(checkpoint, intake, calls).run(kind, round(encoding.clock * FRAME_S), losses)
    finally:
        if decoders is not None:
            decoders.close(1.0)


class _Play:
    def __init__(self, checkpoint: Checkpoint, intake: Intake, calls: Sequence[Sequence[bytes]]) -> None:
        arch = checkpoint.architecture
        self._intake, self._calls = intake, calls
        self._engine = Engine(checkpoint.net, len(calls), make_backend("auto", checkpoint.net, len(calls)))
        longest = max(map(len, calls)) * FRAME_S
        self._window = window_of(checkpoint.net, len(calls), arch.intervals(longest + SLACK_S))
        self._gate = arch.gate
        self._predictions = PredictionBuilder(arch, checkpoint.hash, checkpoint.confidence)
        self._started: dict[int, CallStarted] = {}
        self._call_of: dict[int, int] = {}

    def run(self, kind: int, ticks: int, losses: Losses) -> NDArray[np.float64]:
        length = np.array([len(call) for call in self._calls])
        for frame in count():
            now = frame * FRAME_S
            going = np.flatnonzero(frame < length)
            kept = going[~losses.next(going)] if len(going) else going
            batch = [(_packet(kind, frame, ticks, i, self._calls[i][frame]), SENDER) for i in kept.tolist()]
            batch += [(_goodbye(i), SENDER) for i in np.flatnonzero(frame == length + 1).tolist()]
            if batch:
                self._intake.feed(Batch.of(batch), now)
            self._intake.sweep(now)
            over = not len(going) and now - length.max() * FRAME_S > 2.0
            if frame % BLOCK == 0 or over:
                self._advance()
            if over:
                break
        self._intake.end_all("the clip is over")
        self._advance()
        answers = np.zeros((len(self._calls), self._window.labels))
        slots = np.array(sorted(self._call_of), np.intp)
        standings = [Standing(f"call-{slot}", 0.0, 0, 8000, 1.0, 0.0, 0.0, 0, ended=True) for slot in slots]
        told = self._predictions.of(self._window.read(slots, attention=False), standings)
        for slot, prediction in zip(slots.tolist(), told, strict=True):
            if prediction.probs:
                answers[self._call_of[slot]] = list(prediction.probs.values())
        return answers

    def _advance(self) -> None:
        for event in self._intake.events:
            if isinstance(event, CallStarted):
                slot = self._engine.attach(event.bank, event.slot)
                self._call_of[slot] = event.ssrc
                self._started[event.slot] = event
            elif isinstance(event, CallEnded):
                self._started.pop(event.slot, None)
        self._intake.events.clear()
        self._await_decoders()
        for e in self._engine.advance():
            self._window.add(e.slots, e.first, e.c, e.alpha, e.votes(self._gate), e.u, e.heard)

    def _await_decoders(self) -> None:
        """Wait for decoders: a codec with a state is decoded in another thread, which must not fall behind packets that
        need no time."""
        pause = threading.Event()
        for started in self._started.values():
            while started.bank.written[started.slot] < self._intake.jitter_buffer.floor[started.slot]:
                pause.wait(0.001)


def _packet(kind: int, frame: int, ticks: int, ssrc: int, payload: bytes) -> bytes:
    return struct.pack(">BBHII", 0x80, kind, frame % 65536, frame * ticks % 2**32, ssrc) + payload


def _goodbye(ssrc: int) -> bytes:
    word = ssrc.to_bytes(4)
    return b"\x80\xc9\x00\x01" + word + b"\x81\xcb\x00\x01" + word


def markdown(rows: Sequence[Row], clips: Clips) -> str:
    """Format the table for docs/results/robustness.md."""
    people = f", {clips.speakers} speakers" if clips.speakers else ""
    lines = [
        f"{clips.name}: {len(clips.files)} clips{people}.",
        "",
        "| codec | packets lost | same label | mean change | largest change |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        how = f"{row.loss:.0%}" + (" in bursts" if row.burst else "") if row.loss else "none"
        same = f"{row.agree} of {row.clips}"
        lines.append(
            f"| {row.codec.upper()} | {how} | {same} | {row.mean_change:.3f} | {row.max_change:.3f} |"
        )
    return "\n".join(lines)
