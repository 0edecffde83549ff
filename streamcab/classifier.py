"""The Python interface: a model, whole clips, and single streams.

    clf = streamcab.load()
    clf.classify(samples, rate).probs
    stream = clf.stream(rate)
    for prediction in stream.push(chunk): ...

A `Stream` is the daemon's own engine with one slot, so its answers are those of the daemon. Knows nothing of files,
threads or sockets.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcab.audio.ring import Bank
from streamcab.config.tree import Answers
from streamcab.errors import AudioError, ConfigError, StreamcabError
from streamcab.inference.answer import PredictionBuilder, Standing
from streamcab.inference.batch import BLOCK, Clip, ClipBatch, Heard
from streamcab.inference.cadence import add_by_own_time
from streamcab.inference.engine import Engine
from streamcab.inference.engine_output import EngineOutput, voting
from streamcab.inference.offline import intervals
from streamcab.inference.window import Reading, window_of
from streamcab.message import Prediction
from streamcab.nn import checkpoint as checkpoints
from streamcab.nn.backend import RUNS, make_runtime
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.device import device_for
from streamcab.nn.weights import detector_of

DEFAULT = Answers()
RATES = range(2_000, 768_001)
CHANNELS = 256
"""Arrays with more columns are assumed to be transposed: (channels, n)."""
LONGEST_S = 86_400.0
AT_ONCE = 64
"""Clips that are heard together."""
LOUDEST = 2.0**32
"""No sample of any scale exceeds this."""


def load(path: str | Path | None = None, compute: str = "auto") -> "Classifier":
    """Load a model.

    Args:
        path: A checkpoint; None for the bundled model.
        compute: The device: auto, cpu, cuda or cuda:N.

    Returns:
        A classifier, ready to answer.

    Raises:
        CheckpointError: The file is not a streamcab checkpoint.
        ConfigError: The device does not exist.
    """
    return Classifier(checkpoints.load(checkpoints.find(path or None)), device_for(compute))


def as_samples(samples: ArrayLike, rate: int) -> NDArray[np.float32]:
    """Convert samples to mono float32.

    Args:
        samples: (n,), (n, channels), or (1, n) with more than CHANNELS samples. Float in [-1, 1], signed integers at
            full scale, or uint8 as in 8-bit WAV files, where 128 is silence.
        rate: Sampling rate in Hz.

    Returns:
        The mean of the channels, of shape (n,), with integers scaled to [-1, 1].

    Raises:
        AudioError: The shape, the type or the rate is not supported, or samples are NaN, infinite or absurd.
    """
    if isinstance(samples, str | bytes | os.PathLike):
        raise AudioError(
            f"samples are an array, not a path ({samples!r}); read the file first: "
            "samples, rate = soundfile.read(path)"
        )
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise AudioError(f"a rate is a number, in Hz, not {rate!r}")
    if not RATES[0] <= rate <= RATES[-1] or rate != int(rate):
        raise AudioError(f"a rate of {rate} Hz is not audio; streamcab hears {RATES[0]} to {RATES[-1]} Hz")
    try:
        a = np.asarray(samples)
    except ValueError:
        raise AudioError("samples are rows of different lengths; give (n,) or (n, channels)") from None
    if a.ndim == 2 and a.shape[0] == 1 and a.shape[1] > CHANNELS:
        a = a[0]  # one channel, as torch's libraries have it
    if a.ndim not in (1, 2) or (a.ndim == 2 and not 0 < a.shape[1] <= CHANNELS):
        wrong_way = a.ndim == 2 and 0 < a.shape[0] <= CHANNELS < a.shape[1]
        turn = ": these look like (channels, n), so give samples.T" if wrong_way else ""
        raise AudioError(f"samples have the shape {a.shape}; give (n,) or (n, channels){turn}")
    if a.dtype == np.uint8:
        a = (a.astype(np.float64) - 128) / 128
    elif a.dtype.kind == "i":
        a = a / np.float64(-np.iinfo(a.dtype).min)
    elif a.dtype.kind != "f" and a.size:
        raise AudioError(f"samples are of type {a.dtype}; give floats in [-1, 1], signed integers or uint8")
    if a.dtype == np.float16:
        a = a.astype(np.float32)
    # Louder values are garbage and would spoil every mean that they enter.
    wrong = ~(np.abs(a) <= LOUDEST) if a.size else np.zeros(0, np.bool_)
    if wrong.any():
        first = int(np.argmax(wrong.reshape(len(a), -1).any(1)))
        raise AudioError(f"{wrong.sum()} samples are NaN, infinite or absurd, the first is number {first}")
    if a.ndim == 2:
        a = a.mean(1, dtype=np.float64)
    return a.astype(np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class Recording:
    """A clip for `classify_many`.

    Attributes:
        name: Name of the clip, in the prediction and in error messages.
        rate: Sampling rate in Hz.
        pieces: Its samples in order, in pieces of any length, in any form that `as_samples` accepts. They may be made
            as they are asked for, and may raise a StreamcabError.
        of: Anything that the caller wants to find again in the answer.
    """

    name: str
    rate: int
    pieces: Iterable[ArrayLike]
    of: Any = None


@dataclass(frozen=True)
class Classified:
    """What a clip, or a segment of it, is answered.

    Attributes:
        recording: The clip.
        start_s: Beginning of the segment in seconds; 0 for a whole clip.
        end_s: Its end, to the last whole interval.
        prediction: The answer; None where there is an error, and where a clip ends together with its last segment.
        error: Why there is no answer.
        last: Nothing follows about this clip.
    """

    recording: Recording
    start_s: float
    end_s: float
    prediction: Prediction | None
    error: StreamcabError | None
    last: bool

    def answer(self) -> Prediction:
        """The prediction; raises the error if there is one."""
        if self.prediction is None:
            assert self.error is not None, "an answer or an error"
            raise self.error
        return self.prediction


def _clip(one: Recording, usual: int, segment: int) -> Clip[Recording]:
    """As the engine takes it; one whose rate is no rate breaks off at once."""
    try:
        as_samples(np.zeros(0, np.float32), one.rate)
    except AudioError as error:
        return Clip(one, usual, _broken(error), segment)
    return Clip(one, int(one.rate), (as_samples(piece, one.rate) for piece in one.pieces), segment)


def _broken(error: StreamcabError) -> Iterator[Any]:
    yield from ()
    raise error


class Classifier:
    """A checkpoint that is ready to answer. All its streams share its weights."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        backend: str = "auto",
        threads: int = 1,
        cache: Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.runtime = make_runtime(backend, checkpoint.net, device, threads=threads, cache=cache)
        self.architecture = checkpoint.architecture
        self.labels = list(checkpoint.architecture.labels)
        self.device = device

    def classify(
        self, samples: ArrayLike, rate: int, *, gate: bool | None = None, name: str = "clip"
    ) -> Prediction:
        """Classify a whole clip: average c_t over all its voiced intervals (paper, section 3.3).

        Args:
            samples: The clip, in any form that `as_samples` accepts.
            rate: Sampling rate in Hz.
            gate: Overrides the checkpoint's gate; with False every interval votes.
            name: Name of the clip, in the prediction and in error messages.

        Returns:
            The answer for the clip, with the state `ended`.

        Raises:
            AudioError: The clip is shorter than one interval, or the samples are invalid.
        """
        x = as_samples(samples, rate)
        answered, heard = intervals(self.runtime, x, rate, detector_of(self.checkpoint.weights))
        if not len(answered.c):
            raise self._too_short(name, len(x), rate)
        window = window_of(self.checkpoint.net, 1, len(answered.c))
        votes = voting(heard.kind[0], self._gate(gate))
        slot = np.zeros(1, np.intp)
        first = np.zeros(1, np.int64)
        kinds = heard.kind, heard.power, heard.wide
        window.add(slot, first, answered.c[None], answered.alpha[None], votes[None], answered.u[None], kinds)
        power = float(heard.power[0].mean())
        standing = Standing(name, time.time(), len(x), int(rate), power, 0.0, 0.0, 0, ended=True)
        return next(self._predictions().of(window.read(slot, attention=True), [standing]))

    def classify_pieces(
        self, pieces: Iterable[ArrayLike], rate: int, *, gate: bool | None = None, name: str = "clip"
    ) -> Prediction:
        """As `classify`, for a clip that comes in pieces: hours need no more memory than minutes.

        A model that normalises over whole clips needs all of it at once.
        """
        return next(self.classify_many([Recording(name, rate, pieces)], gate=gate, at_once=1)).answer()

    def classify_many(
        self,
        recordings: Iterable["Recording | None"],
        *,
        gate: bool | None = None,
        segment_s: float | None = None,
        at_once: int = AT_ONCE,
    ) -> Iterator["Classified"]:
        """Classify many clips together, which takes a fraction of the time of one after the other.

        Args:
            recordings: The clips. Each is asked for its pieces as they are needed. None means that there is no other
                yet, while some are still heard.
            gate: Overrides the checkpoint's gate; with False every interval votes.
            segment_s: Seconds after which a clip is given another answer, of that segment alone; None for one answer.
            at_once: How many clips are heard together.

        Yields:
            An answer, or the error that prevents it, for each clip or segment, in the order in which they end. The
            segments of a clip come in order.

        Raises:
            ConfigError: The model normalises over whole clips, and segments are asked for.
        """
        arch, segment = self.architecture, 0
        if segment_s is not None:
            segment = max(arch.intervals(segment_s), 1)
        if arch.normaliser != "running":
            if segment:
                raise ConfigError(
                    f"this model normalises over whole clips ({arch.normaliser!r}) and answers no segments"
                )
            for recording in recordings:
                if recording is not None:
                    yield self._classified_alone(recording, gate)
            return

        def clips() -> Iterator[Clip[Recording] | None]:
            for one in recordings:
                yield None if one is None else _clip(one, arch.rate, segment)

        batch: ClipBatch[Recording] = ClipBatch(
            self.checkpoint.net, self.runtime.backend(at_once), at_once, self._gate(gate), self._block
        )
        for heard in batch.hear(clips()):
            yield self._classified(heard)

    @property
    def _block(self) -> int:
        """Intervals of a step: on a GPU such as were recorded."""
        return BLOCK if self.device == "cpu" else RUNS[0]

    def _classified(self, heard: Heard["Recording"]) -> "Classified":
        one, interval = heard.key, self.architecture.interval_s
        start_s = round(heard.start * interval, 3)
        if heard.reading is None:
            # A clip that ends with a segment has nothing left for another one.
            none = heard.error is None and heard.start > 0
            error = None if none else heard.error or self._too_short(one.name, heard.samples, one.rate)
            return Classified(one, start_s, start_s, None, error, True)
        now = time.time()
        standing = Standing(
            one.name, now, heard.samples, int(one.rate), heard.power, 0.0, 0.0, 0, ended=heard.last
        )
        answer = next(self._predictions().of(heard.reading, [standing]))
        end_s = start_s + round(int(heard.reading.seen[0]) * interval, 3)
        return Classified(one, start_s, end_s, answer, None, heard.last)

    def _classified_alone(self, one: "Recording", gate: bool | None) -> "Classified":
        try:
            parts = [as_samples(piece, one.rate) for piece in one.pieces]
            whole = np.concatenate(parts) if parts else np.zeros(0, np.float32)
            answer = self.classify(whole, one.rate, gate=gate, name=one.name)
        except StreamcabError as error:
            return Classified(one, 0.0, 0.0, None, error, True)
        return Classified(one, 0.0, len(whole) / one.rate, answer, None, True)

    def _too_short(self, name: str, samples: int, rate: int) -> AudioError:
        need = round(self.architecture.interval_s * 1000)
        return AudioError(f"{name}: {samples / rate * 1000:.0f} ms of audio; at least {need} ms are needed")

    def stream(
        self,
        rate: int,
        *,
        window_s: float = DEFAULT.window,
        every_s: float = DEFAULT.every,
        gate: bool | None = None,
        name: str = "stream",
    ) -> "Stream":
        """Open a live stream: push chunks of any length, and get predictions.

        Args:
            rate: Sampling rate in Hz.
            window_s: Length of the averaging window in seconds.
            every_s: Seconds of audio between predictions.
            gate: Overrides the checkpoint's gate; with False every interval votes.
            name: Name of the stream, in its predictions.

        Returns:
            A stream without any samples yet.

        Raises:
            AudioError: The rate is not supported.
            ConfigError: A time is out of range, or the model normalises over whole clips.
        """
        return Stream(self, rate, window_s, every_s, self._gate(gate), name)

    def _gate(self, override: bool | None) -> bool:
        return self.architecture.gate if override is None else override

    def _predictions(self) -> PredictionBuilder:
        return PredictionBuilder(self.architecture, self.checkpoint.hash, self.checkpoint.confidence)


class Stream:
    """One stream of audio. Its answers do not depend on how the audio is cut into chunks."""

    def __init__(
        self, classifier: Classifier, rate: int, window_s: float, every_s: float, gate: bool, name: str
    ) -> None:
        arch = classifier.architecture
        as_samples(np.zeros(0, np.float32), rate)
        rate = int(rate)
        if not all(arch.interval_s <= s <= LONGEST_S for s in (window_s, every_s)):
            raise ConfigError(
                f"window_s={window_s} and every_s={every_s} must be at least {arch.interval_s}, "
                f"and at most {LONGEST_S:g}"
            )
        length, every = arch.intervals(window_s), arch.intervals(every_s)
        if arch.normaliser != "running":
            raise ConfigError(
                f"this model normalises over whole clips ({arch.normaliser!r}) and cannot hear a stream; "
                "train a live one: streamcab train --config configs/live.toml"
            )
        self.rate, self.name = rate, name
        self._gate, self._every = gate, every
        self._bank = Bank(rate, 1, 4 * rate)
        self._engine = Engine(classifier.checkpoint.net, 1, classifier.runtime.backend(1))
        self._slot = np.array([self._engine.attach(self._bank, 0)])
        self._window = window_of(classifier.checkpoint.net, 1, length)
        self._predictions = classifier._predictions()
        self._seq = 0
        self._power = 0.0  # of the newest interval

    def push(self, chunk: ArrayLike) -> list[Prediction]:
        """Append samples.

        Args:
            chunk: Samples at this stream's rate, in any form that `as_samples` accepts.

        Returns:
            The predictions that have become due, oldest first.

        Raises:
            AudioError: The samples are invalid, or the stream is finished.
        """
        if self._bank.ended[0]:
            raise AudioError("this stream is finished; begin another with Classifier.stream")
        return self._told(self._hear(chunk))

    def finish(self) -> list[Prediction]:
        """End the stream.

        Returns:
            The predictions for the last intervals; the last of them is the final answer, with the state `ended`. Empty
            if the stream is finished already.
        """
        if self._bank.ended[0]:
            return []
        said = self._told(self._hear(None))
        last = self._window.read(self._slot, attention=True)
        return [*said, self._prediction(last, self._power, ended=True)]

    def push_intervals(self, chunk: ArrayLike | None) -> list[EngineOutput]:
        """Append samples and return every c_t; for `verify` and for research.

        Args:
            chunk: As for `push`; None ends the stream, like `finish`.

        Returns:
            The engine's outputs, in the order of the stream.

        Raises:
            AudioError: The samples are invalid.
        """
        return list(self._hear(chunk))

    def _hear(self, chunk: ArrayLike | None) -> Iterator[EngineOutput]:
        """Run samples through the engine, a second at a time; None ends the stream."""
        if chunk is None:
            self._bank.finish(0)
            yield from self._engine.advance()
            return
        x = as_samples(chunk, self.rate)
        for i in range(0, len(x), self.rate):
            self._bank.write(0, x[i : i + self.rate], time.monotonic())
            yield from self._engine.advance()

    def _told(self, outputs: Iterable[EngineOutput]) -> list[Prediction]:
        """Add outputs to the window, and return a prediction for each `every_s` of audio."""
        said = []
        for output in outputs:
            due = add_by_own_time(self._window, output, 0, self._every, gate=self._gate, attention=True)
            said += [self._prediction(one.reading, float(one.power[0])) for one in due]
            self._power = float(output.power[0, -1])
        return said

    def _prediction(self, reading: Reading, power: float, ended: bool = False) -> Prediction:
        engine = self._engine
        heard = engine.sample(int(self._slot[0]), int(reading.seen[0]) + engine.delay)
        written = int(self._bank.written[0])
        sample = written if ended else min(heard, written)
        standing = Standing(self.name, time.time(), sample, self.rate, power, 0.0, 0.0, 0, ended=ended)
        self._seq += 1
        return msgspec.structs.replace(next(self._predictions.of(reading, [standing])), seq=self._seq)
