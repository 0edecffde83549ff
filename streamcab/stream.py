"""A single stream in Python: chunks in, predictions out, by the daemon's own engine with one slot.

Knows nothing of files, threads or sockets.
"""

import time
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from streamcab.audio.ring import Bank
from streamcab.audio.samples import as_samples
from streamcab.errors import AudioError, ConfigError
from streamcab.inference.answer import PredictionBuilder, Standing
from streamcab.inference.cadence import add_by_own_time
from streamcab.inference.engine import Engine
from streamcab.inference.engine_output import EngineOutput
from streamcab.inference.reading import Reading
from streamcab.inference.window import window_of
from streamcab.message import Prediction
from streamcab.nn.backend import Runtime
from streamcab.nn.checkpoint import Checkpoint

LONGEST_S = 86_400.0


def predictions_of(checkpoint: Checkpoint) -> PredictionBuilder:
    """Return what builds the predictions of a model."""
    return PredictionBuilder(checkpoint.architecture, checkpoint.hash, checkpoint.confidence)


class Stream:
    """One stream of audio. Its answers do not depend on how the audio is cut into chunks."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        runtime: Runtime,
        rate: int,
        window_s: float,
        every_s: float,
        gate: bool,
        name: str,
        voices: int,
    ) -> None:
        """See `Classifier.stream`."""
        arch = checkpoint.architecture
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
        self._engine = Engine(checkpoint.net, 1, runtime.backend(1))
        self._slot = np.array([self._engine.attach(self._bank, 0)])
        self._window = window_of(checkpoint.net, 1, length, voices)
        self._predictions = predictions_of(checkpoint)
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
