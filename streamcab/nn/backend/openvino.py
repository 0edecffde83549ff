"""The quick backend for CPUs: the step as a graph that OpenVINO compiles, once for each shape that is needed.

Slots, state and the streams near their start or end are TorchBackend's, on the CPU; only the steady step is
another. The graph is built here, layer by layer, from the model's own weights: no exchange format, no
converter (OpenVINO's own one reports usage to its makers), nothing written to disk. Knows nothing of what
TorchBackend does not know of.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamcab.nn.acb import FoldedAcb
from streamcab.nn.backend.layout import contexts
from streamcab.nn.backend.pieces import Floats, Ints, RoundRobin, in_pieces
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.backend.unreported import op, ov
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.distiller import Stage

STREAMS = (32, 8, 1)
"""Streams of the compiled shapes. Eight run at full speed already; 32 save Python's work, and still fit the cache."""
INTERVALS = (1, 2, 4, 8)
"""What the engine asks for, and `prepare` compiles. Others compile as they come."""

Node = Any


class OpenVinoBackend(TorchBackend):
    """See Backend. With bf16, what passes between layers is rounded; state and answers stay float32.

    `threads` parts of a step run at a time, each on one thread: that scales better than more threads in one.
    """

    def __init__(self, model: CabCnn, slots: int, precision: str = "f32", threads: int = 1) -> None:
        super().__init__(model, slots)
        self._rows: Floats = self._state.numpy()
        self._core = ov.Core()
        self._threads = threads
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            # Processes that pin themselves would all pick the first core.
            "ENABLE_CPU_PINNING": False,
        }
        self._sizes = sorted({min(b, slots) for b in STREAMS}, reverse=True)
        self._compiled: dict[tuple[int, int], RoundRobin[_Request]] = {}

    def prepare(self) -> None:
        """Compile the shapes that so many slots can fill: a tenth of a second each."""
        for h in INTERVALS:
            for b in self._sizes:
                self._shape(b, h)

    def _midway(self, slots: Ints, x: Floats, out: Floats) -> None:
        h = out.shape[1]
        in_pieces(self._sizes, lambda size: self._shape(size, h).next(), slots, x, out)

    def _shape(self, b: int, h: int) -> "RoundRobin[_Request]":
        requests = self._compiled.get((b, h))
        if requests is None:
            graph = _graph(self._stages, self._acb, b, h)
            # A lone stream computes on the caller's thread: another one costs 30 us to wake.
            threads = self._threads if b > 1 else 1
            settings = self._settings | {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
            compiled = self._core.compile_model(graph, "CPU", settings)
            count = 2 * threads if threads > 1 else 1
            requests = RoundRobin(
                [_Request(compiled, self._rows, elsewhere=threads > 1) for _ in range(count)]
            )
            self._compiled[b, h] = requests
        return requests


class _Request:
    """A Piece of a compiled shape, on rows of state (slots, floats); computed `elsewhere` or by the caller."""

    def __init__(self, compiled: Any, rows: Floats, *, elsewhere: bool) -> None:
        self._request, self._rows, self._elsewhere = compiled.create_infer_request(), rows, elsewhere
        self._slots = np.zeros(0, np.intp)
        self._x, self._before = (np.zeros(port.shape, np.float32) for port in compiled.inputs)
        self._answer, self._after = (np.zeros(port.shape, np.float32) for port in compiled.outputs)
        for i, buffer in enumerate((self._x, self._before)):
            self._request.set_input_tensor(i, ov.Tensor(buffer, shared_memory=True))
        for i, buffer in enumerate((self._answer, self._after)):
            self._request.set_output_tensor(i, ov.Tensor(buffer, shared_memory=True))

    def start(self, slots: Ints, x: Floats) -> None:
        """See Piece."""
        self._slots, n = slots, len(slots)
        np.take(self._rows, slots, axis=0, out=self._before[:n], mode="clip")
        self._x[:n] = x
        if self._elsewhere:
            self._request.start_async()
        else:
            self._request.infer()

    def result(self) -> Floats:
        """See Piece. The state is then the new one."""
        if self._elsewhere:
            self._request.wait()
        n = len(self._slots)
        self._rows[self._slots] = self._after[:n]
        return self._answer[:n]


def _graph(stages: list[Stage], acb: FoldedAcb, b: int, h: int) -> Any:
    """x (b, h * interval), state (b, floats) -> c, attention and u (b, h, all three), state."""
    ends = [(channels, samples) for stage in stages for samples, channels in contexts(stage)]
    sizes = [c * n for c, n in ends]
    x = op.parameter([b, h * stages[0].unit], ov.Type.f32, name="x")
    state = op.parameter([b, sum(sizes)], ov.Type.f32, name="state")
    parts = op.variadic_split(state, _ints(1), _ints(sizes))
    before = [_reshape(parts.output(i), b, n, c) for i, (c, n) in enumerate(ends)]
    after = []
    y = _reshape(x, b, 1, h * stages[0].unit)
    for stage, conv, pool in zip(stages, before[::2], before[1::2], strict=True):
        n, shape = h * stage.unit, stage.shape
        y = op.concat([_swap(conv), y], 2)
        after.append(_cut(y, n, n + stage.conv_context))
        y = op.add(_convolve(y, stage.weight), _constant(stage.bias[None, :, None]))
        y = op.concat([_swap(pool), y], 2)
        after.append(_cut(y, n, n + stage.pool_context))
        y = _cut(y, 0, (h * stage.out_unit - 1) * shape.stride + shape.pool)
        y = op.relu(op.max_pool(y, [shape.stride], [1], [0], [0], [shape.pool]).output(0))
    rows = op.concat([_reshape(_swap(s), b, n) for s, n in zip(after, sizes, strict=True)], 1)
    answer = op.transpose(_acb(acb, y, b, h), _ints([0, 2, 1]))
    return ov.Model([op.result(answer), op.result(rows)], [x, state], "cab_cnn_step")


def _acb(acb: FoldedAcb, a: Node, b: int, h: int) -> Node:
    """FoldedAcb on (b, features, h) -> (b, all of an answer, h): products as convolutions of width 1."""
    weight, bias = acb.first
    y = op.add(_convolve(a, weight.unsqueeze(2)), _constant(bias[None, :, None]))
    parts = op.variadic_split(y, _ints(1), _ints([n for n in acb.split if n]))
    y, alpha, *u = parts.outputs()
    for weight, bias in acb.classifiers:
        y = op.group_convolution(op.relu(y), _constant(weight.unsqueeze(3)), [1], [0], [0], [1])
        y = op.add(y, _constant(bias.reshape(1, -1, 1)))
    for weight, bias in acb.attention:
        alpha = op.add(_convolve(op.relu(alpha), weight.unsqueeze(2)), _constant(bias[None]))
    alpha = op.softmax(alpha, 1)
    y = op.softmax(_reshape(y, b, acb.n, -1, h), 2)
    c = op.reduce_sum(op.multiply(y, op.unsqueeze(alpha, _ints(2))), _ints(1), False)
    return op.concat([c, alpha, *u], 1)


def _convolve(x: Node, weight: Tensor) -> Node:
    return op.convolution(x, _constant(weight), [1], [0], [0], [1])


def _cut(x: Node, start: int, stop: int) -> Node:
    """x[:, :, start:stop]."""
    return op.slice(x, _ints([start]), _ints([stop]), _ints([1]), _ints([2]))


def _swap(x: Node) -> Node:
    """Between (b, samples, channels), as state is kept, and (b, channels, samples), as the graph has it."""
    return op.transpose(x, _ints([0, 2, 1]))


def _reshape(x: Node, *shape: int) -> Node:
    return op.reshape(x, _ints(shape), False)


def _constant(x: Tensor) -> Node:
    return op.constant(x.detach().to(torch.float32).contiguous().numpy())


def _ints(x: Any) -> Node:
    return op.constant(np.array(x, np.int64))
