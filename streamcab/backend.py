"""Where the net runs: slots of stream state, and one step that advances many streams together.

State lies in a slot for as long as its stream lives; a step gathers the slots that it is given, runs the layers of
`distiller.py` and `acb.py` on them, and scatters the state back. Weights are shared and never written. Any backend that
keeps this contract serves; torch is the reference. Knows nothing of audio, windows or votes.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamcab.distiller import FOREVER, StageState
from streamcab.model import CabCnn

FLOATS = NDArray[np.float32]
SUB_BATCH = 64
"""Streams per product on a CPU: with 4 to 8 intervals each, what the layers pass on stays in the cache."""


class Backend(Protocol):
    """The seam. A slot holds one stream; `reset` before a stream's first step."""

    def reset(self, slots: NDArray[np.intp]) -> None:
        """Make slots ready for new streams: as if they had never been used."""

    def step(
        self, slots: NDArray[np.intp], x: FLOATS, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[FLOATS, FLOATS]:
        """H more intervals of B streams: x (B, H * I), normalised, 0 beyond a stream's end.

        first  (B,) intervals of each stream so far        end  (B,) intervals of it in all, or FOREVER
        Returns c (B, H, labels) and attention (B, H, classifiers) of the intervals first - delay .. ; those whose index
        is negative mean nothing.
        """

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream's state."""


class TorchBackend:
    """The reference, on a CPU or a GPU."""

    def __init__(self, model: CabCnn, slots: int, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self._model = model.eval().to(self.device)
        self._interval = model.distiller.interval
        self._delay = model.distiller.delay
        with torch.inference_mode():
            self._kernels = model.distiller.kernels()
            self._fresh = model.distiller.new_state(1)
            self._state = model.distiller.new_state(slots)
        self._sub_batch = SUB_BATCH if self.device.type == "cpu" else slots

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream's state in the net."""
        return sum(s.conv.nbytes + s.pool.nbytes for s in self._fresh)

    @torch.inference_mode()
    def reset(self, slots: NDArray[np.intp]) -> None:
        """See Backend."""
        index = torch.from_numpy(slots).to(self.device)
        for state, fresh in zip(self._state, self._fresh, strict=True):
            state.conv[index] = fresh.conv
            state.pool[index] = fresh.pool

    @torch.inference_mode()
    def step(
        self, slots: NDArray[np.intp], x: FLOATS, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[FLOATS, FLOATS]:
        """See Backend."""
        h = x.shape[1] // self._interval
        parts = []
        for i in range(0, len(slots), self._sub_batch):
            cut = slice(i, i + self._sub_batch)
            edges = None
            if first[cut].min() < self._delay or (first[cut] + h > end[cut]).any():
                edges = (self._send(first[cut]), self._send(np.minimum(end[cut], FOREVER)))
            parts.append(self._step(self._send(slots[cut]), self._send(x[cut]), edges))
        c, alpha = (torch.cat(p) if len(p) > 1 else p[0] for p in zip(*parts, strict=True))
        return c.cpu().numpy(), alpha.cpu().numpy()

    def _step(
        self, index: Tensor, x: Tensor, edges: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        before = [StageState(s.conv[index], s.pool[index]) for s in self._state]
        a, after = self._model.distiller.step(x, before, self._kernels, edges)
        for state, new in zip(self._state, after, strict=True):
            state.conv[index] = new.conv
            state.pool[index] = new.pool
        c, alpha = self._model.acb(a)
        return c, alpha

    def _send(self, a: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(a)).to(self.device)
