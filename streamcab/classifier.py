"""The Python interface: a model, whole clips, and single streams.

    clf = streamcab.load()
    clf.classify(samples, rate).probs
    stream = clf.stream(rate)
    for prediction in stream.push(chunk): ...

A `Stream` is the daemon's own engine with one slot, so what is tried here is what is served there. Knows nothing of
files, threads or sockets.
"""

import time
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcab import checkpoint as checkpoints
from streamcab.answer import Answers, Standing
from streamcab.backend import TorchBackend
from streamcab.checkpoint import Checkpoint
from streamcab.compute import device_for
from streamcab.engine import Emitted, Engine
from streamcab.errors import AudioError, ConfigError
from streamcab.message import Prediction
from streamcab.normalise import MISSING, VOICED
from streamcab.offline import intervals
from streamcab.ring import Bank
from streamcab.window import Window

RATES = range(2_000, 768_001)


def load(path: str | Path | None = None, compute: str = "auto") -> "Classifier":
    """The bundled model, or the checkpoint at `path`, on `compute`: auto, cpu, cuda or cuda:N.

    CheckpointError for a file that is no checkpoint of ours; ConfigError for a device that is not there.
    """
    return Classifier(checkpoints.load(Path(path) if path else checkpoints.bundled()), device_for(compute))


def as_samples(samples: ArrayLike, rate: int) -> NDArray[np.float32]:
    """Mono float32 of shape (n,) from (n,) or (n, channels), float in [-1, 1] or integers at full scale.

    AudioError for anything that cannot be heard: other shapes or types, NaN, infinity, an impossible rate.
    """
    a = np.asarray(samples)
    if a.ndim == 2:
        a = a.mean(1, dtype=np.float64) if a.dtype.kind == "f" else a.mean(1, dtype=np.float64).round().astype(a.dtype)
    if a.ndim != 1:
        raise AudioError(f"samples have the shape {a.shape}; give (n,) or (n, channels)")
    if int(rate) not in RATES:
        raise AudioError(f"a rate of {rate} Hz is not audio; streamcab hears {RATES[0]} to {RATES[-1]} Hz")
    if a.dtype.kind == "i":
        return (a / np.float64(-np.iinfo(a.dtype).min)).astype(np.float32)
    if a.dtype.kind != "f" and a.size:
        raise AudioError(f"samples are of type {a.dtype}; give floats in [-1, 1] or signed integers")
    a = a.astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(a))
    if bad.size:
        raise AudioError(f"{bad.size} samples are NaN or infinite, the first is number {bad[0]}")
    return a


class Classifier:
    """A checkpoint, ready to answer. Weights are shared by all its streams."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.architecture = checkpoint.architecture
        self.labels = list(checkpoint.architecture.labels)
        self.device = device

    def classify(self, samples: ArrayLike, rate: int, *, gate: bool | None = None, name: str = "clip") -> Prediction:
        """The answer for a whole clip: the mean of c_t over all its voiced intervals (paper, section 3.3).

        `samples` as `as_samples` takes them. `gate` overrides the checkpoint's; without a gate every interval votes.
        AudioError when the clip is shorter than one interval or cannot be heard.
        """
        x = as_samples(samples, rate)
        c, alpha, heard = intervals(self.checkpoint.model, x, rate)
        if not len(c):
            need = round(self.architecture.interval_s * 1000)
            raise AudioError(f"{name}: {len(x) / rate * 1000:.0f} ms of audio; at least {need} ms are needed")
        window = self._window(len(c), 1)
        kind = heard.kind[0]
        votes = kind == VOICED if self._gate(gate) else kind != MISSING
        slot = np.zeros(1, np.intp)
        window.add(slot, np.zeros(1, np.int64), c[None], alpha[None], votes[None])
        power = float(heard.power[0].mean())
        standing = Standing(name, time.time(), len(x), int(rate), power, 0.0, 0.0, 0, ended=True)
        return next(self._answers(window).of(slot, [standing]))

    def stream(
        self, rate: int, *, window_s: float = 30.0, every_s: float = 0.1, gate: bool | None = None, name: str = "stream"
    ) -> "Stream":
        """A live stream of `rate` Hz: push chunks of any length, get predictions each `every_s` of audio."""
        return Stream(self, int(rate), window_s, every_s, self._gate(gate), name)

    def _gate(self, override: bool | None) -> bool:
        return self.architecture.gate if override is None else override

    def _window(self, length: int, slots: int) -> Window:
        return Window(slots, len(self.labels), self.architecture.classifiers, length)

    def _answers(self, window: Window) -> Answers:
        return Answers(self.architecture, window, self.checkpoint.hash, attention=True)


class Stream:
    """One stream of audio. Chunks change when an answer comes, never what it is."""

    def __init__(
        self, classifier: Classifier, rate: int, window_s: float, every_s: float, gate: bool, name: str
    ) -> None:
        arch = classifier.architecture
        as_samples(np.zeros(0, np.float32), rate)
        length = round(window_s / arch.interval_s)
        every = round(every_s / arch.interval_s)
        if length < 1 or every < 1:
            raise ConfigError(f"window_s={window_s} and every_s={every_s} must be at least {arch.interval_s}")
        if arch.normaliser != "running":
            raise ConfigError(
                f"this model normalises over whole clips ({arch.normaliser!r}) and cannot hear a stream; "
                "train a live one: streamcab train --config configs/live.toml"
            )
        self.rate, self.name = rate, name
        self._gate, self._every = gate, every
        self._bank = Bank(rate, 1, 4 * rate)
        backend = TorchBackend(classifier.checkpoint.model, 1, classifier.device)
        self._engine = Engine(classifier.checkpoint.model, 1, backend)
        self._slot = np.array([self._engine.attach(self._bank, 0)])
        self._window = classifier._window(length, 1)
        self._answers = classifier._answers(self._window)
        self._seq = 0

    def push(self, chunk: ArrayLike) -> list[Prediction]:
        """More samples, as `as_samples` takes them, at this stream's rate; the predictions that they complete."""
        if self._bank.ended[0]:
            raise AudioError("this stream is finished; begin another with Classifier.stream")
        x = as_samples(chunk, self.rate)
        out = []
        piece = self.rate
        for i in range(0, len(x), piece):
            self._bank.write(0, x[i : i + piece], time.monotonic())
            out += self._advance()
        return out

    def finish(self) -> list[Prediction]:
        """The end: the last intervals' predictions, of which the last is the final answer, with state `ended`."""
        if not self._bank.ended[0]:
            self._bank.finish(0)
            return [*self._advance(), self._prediction(ended=True)]
        return []

    def push_intervals(self, chunk: ArrayLike | None) -> list[Emitted]:
        """As `push`, or `finish` for None, but every c_t as the engine emits it. For `verify` and for research."""
        if chunk is None:
            self._bank.finish(0)
            return self._engine.advance()
        out = []
        x = as_samples(chunk, self.rate)
        for i in range(0, len(x), self.rate):
            self._bank.write(0, x[i : i + self.rate], time.monotonic())
            out += self._engine.advance()
        return out

    def _advance(self) -> list[Prediction]:
        out = []
        for e in self._engine.advance():
            votes = e.votes(self._gate)
            for j in range(e.c.shape[1]):
                one = slice(j, j + 1)
                self._window.add(self._slot, e.first + j, e.c[:, one], e.alpha[:, one], votes[:, one])
                self._power = float(e.power[0, j])
                if self._window.seen[0] and self._window.seen[0] % self._every == 0 and e.first[0] + j >= 0:
                    out.append(self._prediction())
        return out

    _power = 0.0

    def _prediction(self, ended: bool = False) -> Prediction:
        engine = self._engine
        seen = int(self._window.seen[0])
        heard = engine.sample(int(self._slot[0]), seen + engine.delay)
        written = int(self._bank.written[0])
        sample = written if ended else min(heard, written)
        standing = Standing(self.name, time.time(), sample, self.rate, self._power, 0.0, 0.0, 0, ended=ended)
        self._seq += 1
        return msgspec.structs.replace(next(self._answers.of(self._slot, [standing])), seq=self._seq)
