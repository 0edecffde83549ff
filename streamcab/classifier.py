"""The Python interface: a model, whole clips, and single streams.

    clf = streamcab.load()
    clf.classify(samples, rate).probs
    stream = clf.stream(rate)
    for prediction in stream.push(chunk): ...

Knows nothing of files, threads or sockets; a `Stream` is in stream.py.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from streamcab.audio.samples import as_samples
from streamcab.config.tree import Answers
from streamcab.errors import AudioError, ConfigError, StreamcabError
from streamcab.inference.answer import PredictionBuilder, Standing
from streamcab.inference.batch import BLOCK, Clip, ClipBatch, ClipResult
from streamcab.inference.engine_output import voting
from streamcab.inference.offline import intervals
from streamcab.inference.window import window_of
from streamcab.message import Prediction
from streamcab.nn import checkpoint as checkpoints
from streamcab.nn.backend import RUNS, Runtime, make_runtime
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.device import device_for
from streamcab.nn.weights import detector_of
from streamcab.stream import Stream, predictions_of

DEFAULT = Answers()
AT_ONCE = 64
"""Clips that are heard together."""


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
    """The answer to a clip, or to a segment of it.

    Attributes:
        recording: The clip.
        start_s: Beginning of the segment in seconds; 0 for a whole clip.
        end_s: Its end, to the last whole interval.
        prediction: The answer; None if there is an error, or if a clip ends together with its last segment.
        error: Why there is no answer.
        last: Whether this is the last result for this clip.
    """

    recording: Recording
    start_s: float
    end_s: float
    prediction: Prediction | None
    error: StreamcabError | None
    last: bool

    def answer(self) -> Prediction:
        """Return the prediction; raise the error if there is one."""
        if self.prediction is None:
            assert self.error is not None, "an answer or an error"
            raise self.error
        return self.prediction


def _clip(one: Recording, usual: int, segment: int) -> Clip[Recording]:
    """Return a clip as the engine takes it; one with an invalid rate breaks off at once."""
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
    ) -> None:
        self.checkpoint = checkpoint
        self._apart = partial(make_runtime, backend, checkpoint.net, device, threads=threads)
        one = checkpoint.with_one_voice.net
        self.runtime = make_runtime(backend, one, device, threads=threads)
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
        c, alpha, u = answered.averaged[None], answered.alpha[None], answered.u[None]
        window.add(slot, first, c, alpha, votes[None], u, kinds)
        power = float(heard.power[0].mean())
        standing = Standing(name, time.time(), len(x), int(rate), power, 0.0, 0.0, 0, ended=True)
        return next(self._predictions().of(window.read(slot, attention=True), [standing]))

    def classify_pieces(
        self, pieces: Iterable[ArrayLike], rate: int, *, gate: bool | None = None, name: str = "clip"
    ) -> Prediction:
        """Classify a clip that comes in pieces, so that hours need no more memory than minutes.

        Otherwise as `classify`. A model that normalises over whole clips needs all of it at once.
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

    def _classified(self, heard: ClipResult["Recording"]) -> "Classified":
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
        voices: int = DEFAULT.voices,
    ) -> Stream:
        """Open a live stream: push chunks of any length, and get predictions.

        Args:
            rate: Sampling rate in Hz.
            window_s: Length of the averaging window in seconds.
            every_s: Seconds of audio between predictions.
            gate: Overrides the checkpoint's gate; with False every interval votes.
            name: Name of the stream, in its predictions.
            voices: How many voices are told apart, each with a window of its own; 1: as in the paper.

        Returns:
            A stream without any samples yet.

        Raises:
            AudioError: The rate is not supported.
            ConfigError: A time is out of range, or the model normalises over whole clips.
        """
        apart = voices > 1 and self.architecture.voice > 0
        checkpoint = self.checkpoint if apart else self.checkpoint.with_one_voice
        runtime = self.runtime_of_voices if apart else self.runtime
        return Stream(checkpoint, runtime, rate, window_s, every_s, self._gate(gate), name, voices)

    @cached_property
    def runtime_of_voices(self) -> Runtime:
        """The net with the discriminant of voices, compiled when it is first needed."""
        return self._apart()

    def _gate(self, override: bool | None) -> bool:
        return self.architecture.gate if override is None else override

    def _predictions(self) -> PredictionBuilder:
        return predictions_of(self.checkpoint)
