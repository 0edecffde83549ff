"""The reference backend: torch, on a CPU or a GPU.

Streams in mid-course, which is nearly all of them, go through a `Pass` (layout.py). Streams near their start or end go
through `Distiller.step` itself, which knows what to put beyond a stream's edges. Both work on the same state: one row
of floats per slot, stage by stage the context of its convolution and then of its pooling, then the trunk's, block by
block.

Knows nothing of which streams exist, of audio, or of votes.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamcab.nn.acb import affine, fold
from streamcab.nn.backend.layout import Arena, Kernel, Pass, contexts, unflatten
from streamcab.nn.backend.memory import MANY, keep_freed_memory
from streamcab.nn.backend.pieces import Answer, Floats, Ints, State
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.distiller import FOREVER, Stage, StageState
from streamcab.nn.trunk import outside
from streamcab.nn.weights import Net

CPU_INTERVALS = 512
"""Stream intervals per product on a CPU: what the layers pass on stays in the cache."""
GPU_STREAMS = 16_384
"""Streams per product on a GPU. Never measured: see docs/results/performance.md."""
LAYOUTS = 64
"""Shapes whose `Pass` is kept."""


class TorchBackend:
    """See Backend. `precision` is that of weights, state and products; probabilities are float32 always."""

    def __init__(self, net: Net, slots: int, device: str = "cpu", precision: str = "f32") -> None:
        self.device = torch.device(device)
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._on_cpu = self.device.type == "cpu"
        if self._on_cpu and slots >= MANY:
            keep_freed_memory()
        if not self._on_cpu:
            # Rounded to 10 bits of mantissa, streamed does not equal offline: only where it was asked for.
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self._model = model = CabCnn.of(net).eval().to(self.device)
        self._interval = model.distiller.interval
        self._delay = model.architecture.delay
        self._widths = model.architecture.widths
        self._width = sum(self._widths)
        self._stages = [stage for stage in model.distiller.stages if isinstance(stage, Stage)]
        with torch.inference_mode():
            self._reference_kernels = model.distiller.kernels()
            self._kernels = [Kernel(stage, self._dtype) for stage in self._stages]
            self._trunk = None if model.trunk is None else deepcopy(model.trunk).to(self._dtype)
            norm = model.distiller.norm
            norm_of_acb = None if self._trunk else norm
            self._acb = fold(norm_of_acb, model.acb, model.summary, self._dtype, model.other)
            self._voice = None if model.voice is None else deepcopy(model.voice.of_interval).to(self._dtype)
            self._affine = tuple(part.to(self._dtype) for part in affine(norm))
            contexts_of_trunk = [] if model.trunk is None else model.trunk.new_state(1)
            self._blocks = [(state.shape[1], state.shape[2]) for state in contexts_of_trunk]
            self._further = sum(n * c for n, c in self._blocks)
            fresh = self._join(model.distiller.new_state(1), contexts_of_trunk)
            self._fresh = fresh.to(self._dtype)
            self._state = self._fresh.repeat(slots, 1)
        self._work = self._state.new_empty(0)
        self._passes: dict[tuple[int, int], Pass] = {}

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one stream's state in the net."""
        return self._fresh.nbytes

    def prepare(self, *, wait: bool = True) -> None:
        """Do nothing: nothing is compiled. See Backend."""

    @torch.inference_mode()
    def reset(self, slots: Ints) -> None:
        """See Backend."""
        self.restore(slots, self._fresh)

    @torch.inference_mode()
    def state(self, slot: int) -> State:
        """See Backend."""
        return self._state[slot].clone()

    @torch.inference_mode()
    def restore(self, slots: Ints, state: State) -> None:
        """See Backend."""
        self._state[torch.from_numpy(slots).to(self.device)] = state

    def start(
        self, slots: Ints, x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> Callable[[], Answer]:
        """See Backend. The answer is there at once."""
        answer = self.step(slots, x, first, end)
        return lambda: answer

    @torch.inference_mode()
    def step(self, slots: Ints, x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]) -> Answer:
        """See Backend."""
        h = x.shape[1] // self._interval
        out = np.empty((len(slots), h, self._width), np.float32)
        near = (first < self._delay) | (first + h > end)
        if not near.any():
            self._midway(slots, x, out)
        else:
            edge = np.flatnonzero(near)
            for there in np.array_split(edge, -(-len(edge) * h // CPU_INTERVALS)):
                out[there] = self._edge(slots[there], x[there], first[there], end[there])
            rest = np.flatnonzero(~near)
            if rest.size:
                answers = np.empty((len(rest), h, self._width), np.float32)
                self._midway(slots[rest], x[rest], answers)
                out[rest] = answers
        labels, both = self._widths[0], self._width - self._widths[2]
        return out[..., :labels], out[..., labels:both], out[..., both:]

    def _midway(self, slots: Ints, x: Floats, out: Floats) -> None:
        """Step streams that are not near their start or end; fills out (B, H, all of an answer)."""
        b, h = out.shape[:2]
        most = max(CPU_INTERVALS // h, 1) if self._on_cpu else GPU_STREAMS
        for i in range(0, b, most):
            cut = slice(i, min(i + most, b))
            layout = self._pass(cut.stop - i, h)
            answer = self._compute(layout, *self._send(slots[cut], x[cut]))
            out[cut] = answer.cpu().numpy().T.reshape(-1, h, self._width)

    def _compute(self, layout: Pass, index: Tensor, x: Tensor) -> Tensor:
        """Compute the streams of a layout, all on the device: (all of an answer, B * H)."""
        torch.index_select(self._state, 0, index, out=layout.rows)
        a, middle = layout.run(x), None
        if self._trunk is not None:
            a, middle = self._through_trunk(a, layout.beyond)
        answer = self._acb(a)
        if self._voice is not None and middle is not None:
            answer = torch.cat((answer, self._voice(middle).t().float()))
        self._state.index_copy_(0, index, layout.rows)
        return answer

    def _through_trunk(self, a: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Send a before the BatchNorm (B * H, features) through the trunk, whose state (B, floats) becomes the new one;
        see `Trunk.both`."""
        assert self._trunk is not None
        gain, shift = self._affine
        before = unflatten(kept, self._blocks)
        a = torch.addcmul(shift, a, gain).view(len(kept), -1, a.shape[1])
        h, middle, after = self._trunk.step_both(a, before)
        for to, value in zip(before, after, strict=True):
            to.copy_(value)
        return h.flatten(0, 1), middle.flatten(0, 1)

    def _edge(self, slots: Ints, x: Floats, first: NDArray[np.int64], end: NDArray[np.int64]) -> Floats:
        """Compute the same for streams near their start or end, by the reference layers in float32."""
        distiller = self._model.distiller
        edges = (
            torch.from_numpy(first).to(self.device),
            torch.from_numpy(np.minimum(end, FOREVER)).to(self.device),
        )
        index, part = self._send(slots, x)
        before, kept = self._split(self._state[index].float())
        a, after = distiller.step(part, before, self._reference_kernels, edges)
        middle = a
        if self._model.trunk is not None:
            # What lies outside of a stream is nothing to the trunk; the norm has made something of it.
            a = a.masked_fill(outside(*edges, distiller.delay, a.shape[1]), 0.0)
            a, middle, kept = self._model.trunk.step_both(a, kept, edges)
        self._state[index] = self._join(after, kept).to(self._dtype)
        said = self._model.read(a)
        if self._model.voice is not None:
            said = torch.cat((said, self._model.voice.of_interval(middle)), -1)
        answer: Floats = said.cpu().numpy()
        return answer

    def _send(self, slots: Ints, x: Floats) -> tuple[Tensor, Tensor]:
        """Send slots and samples to where the state is; to a GPU in one copy, each slot ahead of its samples."""
        if self._on_cpu:
            return torch.from_numpy(slots), torch.from_numpy(np.ascontiguousarray(x))
        head = np.ascontiguousarray(slots, np.int64)[:, None].view(np.float32)
        both = torch.from_numpy(np.concatenate((head, x), 1)).to(self.device)
        return both[:, :2].contiguous().view(torch.int64)[:, 0], both[:, 2:]

    def _pass(self, b: int, h: int) -> Pass:
        layout = self._passes.get((b, h))
        if layout is None:
            if len(self._passes) >= LAYOUTS:
                self._passes.clear()
            arena = Arena(self._work)
            layout = Pass(self._kernels, b, h, arena, self._further)
            if arena.taken > len(self._work):
                self._work = self._work.new_empty(arena.taken)
                self._passes.clear()
                layout = Pass(self._kernels, b, h, Arena(self._work), self._further)
            self._passes[b, h] = layout
        return layout

    def _split(self, rows: Tensor) -> tuple[list[StageState], list[Tensor]]:
        """View rows of state (B, floats) as the stages and the blocks of the trunk know them."""
        shapes = [shape for stage in self._stages for shape in contexts(stage)]
        parts = unflatten(rows, shapes + self._blocks)
        mine, kept = parts[: len(shapes)], parts[len(shapes) :]
        return [StageState(conv, pool) for conv, pool in zip(mine[::2], mine[1::2], strict=True)], kept

    @staticmethod
    def _join(states: list[StageState], kept: list[Tensor]) -> Tensor:
        parts = [part for state in states for part in (state.conv, state.pool)]
        return torch.cat([part.flatten(1) for part in (*parts, *kept)], 1)
