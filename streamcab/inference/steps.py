"""Steps of the net for the streams of a table: begun here, and collected when their answers are wanted.

A c_t leaves the net `delay` intervals after its audio went in. So do its kind and level, which travel here meanwhile.
Knows nothing of rings, of audio or of normalisers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp.gate import MISSING, SILENT
from streamcab.dsp.normalise import NormalisedBatch
from streamcab.inference.engine_output import Begun, EngineOutput
from streamcab.inference.slots import SlotTable
from streamcab.nn.architecture import FOREVER, Architecture
from streamcab.nn.backend import RUNS, Backend, State


class Steps:
    """The steps of a backend. `stepped` is a column of the table.

    end       (slots,) int64  intervals of each stream in all, or FOREVER
    computed  intervals that went through the net so far, of all streams
    """

    def __init__(self, arch: Architecture, table: SlotTable, backend: Backend, memory: int) -> None:
        """`memory`: missing intervals after which the net remembers nothing else."""
        self._arch, self._backend, self._memory, self.stepped = arch, backend, memory, table.stepped
        self.end = table.column(np.int64, FOREVER)
        self.computed = 0
        # Kind, level and width of the intervals whose c_t is still on its way through the net.
        self._kind = table.column(np.uint8, 0, arch.delay)
        self._power = table.column(np.float64, 0, arch.delay)
        self._wide = table.column(np.bool_, 0, arch.delay)
        # Intervals to come that do not count: what the net remembers is not what was before them.
        self._deaf = table.column(np.int64)
        self._quiet: State | None = None
        self._begun: list[Begun] = []
        table.add(backend.reset, backend.bytes_per_slot)
        table.add(self._forget)

    def _forget(self, slots: NDArray[np.intp]) -> None:
        for step in self._begun:
            step.forget(slots)

    def push(self, slots: NDArray[np.intp], heard: NormalisedBatch) -> None:
        """Begin a step of the next H intervals of some streams."""
        h = heard.kind.shape[1]
        self.computed += h * len(slots)
        first = self.stepped[slots]
        answer = self._backend.start(slots, heard.x, first, self.end[slots])
        deaf = self._deaf[slots]
        if deaf.any():
            heard.kind[np.arange(h) < deaf[:, None]] = MISSING
            self._deaf[slots] = np.maximum(deaf - h, 0)
        kind = np.concatenate((self._kind[slots], heard.kind), 1)
        power = np.concatenate((self._power[slots], heard.power), 1)
        wide = np.concatenate((self._wide[slots], heard.wide), 1)
        self._kind[slots], self._power[slots], self._wide[slots] = kind[:, h:], power[:, h:], wide[:, h:]
        self.stepped[slots] += h
        begun = Begun(answer, slots, first - self._arch.delay, kind[:, :h], power[:, :h], wide[:, :h])
        self._begun.append(begun)

    def flush(self, slots: NDArray[np.intp]) -> None:
        """Begin the last steps of streams that have ended: what is in the net comes out, as by padding offline."""
        left = self._arch.delay
        for h in RUNS:
            while left >= h:
                x = np.zeros((len(slots), h * self._arch.interval), np.float32)
                none = np.zeros((len(slots), h))
                kind = np.full((len(slots), h), SILENT, np.uint8)
                self.push(slots, NormalisedBatch(x, kind, none, none.astype(np.bool_)))
                left -= h

    def begun(self) -> list[Begun]:
        """Return the steps that have begun since this was last asked."""
        begun, self._begun = self._begun, []
        return begun

    def collect(self, begun: Sequence[Begun]) -> list[EngineOutput]:
        """Return the answers of what has begun. Where a step failed its error is raised, and `lose` must follow.

        The answers of the others are then returned with those of the next steps.
        """
        outputs, failed = [], []
        for step in begun:
            try:
                outputs.append(step.output())
            except Exception as error:
                failed.append(error)
                self.stepped[step.attached] -= step.kind.shape[1]
                step.forget(step.slots)
        if failed:
            self._begun[:0] = [step for step in begun if len(step.attached)]
            raise failed[0]
        return [output for output in outputs if len(output.slots)]

    def lose(self, slot: int, stepped: int) -> None:
        """Forget what was on its way through the net of a stream, whose next interval is number `stepped`."""
        self.stepped[slot] = stepped
        self._kind[slot], self._deaf[slot] = MISSING, self._memory

    def deafen(self, slots: NDArray[np.intp]) -> None:
        """Ignore the next intervals: what the net remembers is not what was before them."""
        self._deaf[slots] = self._memory

    @property
    def knows_silence(self) -> bool:
        """Whether the net's state after many missing intervals is known."""
        return self._quiet is not None

    def learn_silence(self, slot: int) -> None:
        """Keep the net's state of this stream, of which it remembers nothing but missing intervals."""
        self._quiet = self._backend.state(slot)

    def forget_all(self, slots: NDArray[np.intp]) -> None:
        """Let the net remember nothing but missing intervals of these streams, without computing that again if it
        can."""
        if self._quiet is None:
            self.deafen(slots)
        else:
            self._backend.restore(slots, self._quiet)
