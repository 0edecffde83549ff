"""A net as graphs of OpenVINO's own operators, built layer by layer from its weights.

No exchange format, no converter (OpenVINO's own one reports usage to its makers), nothing written to disk. The same
layers as in distiller.py, trunk.py and acb.py, in three forms:

    step   the streamed step of streams that are neither near their start nor near their end, for one shape
    edges  the streamed step of any streams, of any shape, which is told what lies outside of each
    clip   a whole clip of any length, padded as Keras pads

Activations are laid out (batch, channels, time) in the distiller and (batch, time, channels) in the trunk. State is one
row of floats for each stream (state.py), its parts laid out (time, channels). Blocks of the trunk keep much, of which a
step changes little: they are handed the newest intervals of their inputs, and give back only what is new (rings.py).
Knows nothing of slots, of threads, or of what is compiled when.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from streamcab.nn.backend import whole
from streamcab.nn.backend.pieces import Floats
from streamcab.nn.backend.state import Kept, kept, lags
from streamcab.nn.backend.unreported import op, ov
from streamcab.nn.geometry import BlockShape, StageShape, StageTiming, looking, timings
from streamcab.nn.weights import LAYER_NORM_EPSILON, Weights, affine, folded

Node = Any
FLOAT, BF16 = ov.Type.f32, ov.Type.bf16


def step(weights: Weights, b: int, h: int, state: Any = FLOAT, *, in_bytes: bool = False) -> Any:
    """Build a step: x (b, h * interval), row (b, floats), and for each block of the trunk its input's newest intervals
    (b, context, features) -> c, attention and u (b, h, all three), row, and each block's input (b, h, features).

    `state`: the type of row and intervals. What is kept in BF16 is what a net computes with in bf16, and no more.
    `in_bytes`: whether a distiller in whole numbers is computed in bytes.
    """
    return _streamed(weights, b, h, state, edges=False, in_bytes=in_bytes)


def edges(weights: Weights, b: int = -1, h: int = -1, state: Any = FLOAT, *, in_bytes: bool = False) -> Any:
    """Build the same with an input more for each array of `insides`; -1 stands for any b or h."""
    return _streamed(weights, b, h, state, edges=True, in_bytes=in_bytes)


def clip(weights: Weights, *, in_bytes: bool = False) -> Any:
    """Build a whole clip: x (1, 1, T), T a multiple of the interval -> c, attention and u (1, T / interval, all
    three)."""
    arch = weights.architecture
    x = _input([1, 1, -1], ov.Type.f32)
    y, voice = whole.heard(op.squeeze(x, _ints([1]))) if arch.integers else x, list[Node]()
    for i, shape in enumerate(arch.stages):
        if arch.integers:
            y = whole.convolved(y, weights, i, shape.conv_pad, in_bytes=in_bytes)
            y = _pool(y, shape.pool, shape.stride, shape.pool_pad)
        else:
            y = _stage(weights, i, y, conv_pad=shape.conv_pad, pool_pad=shape.pool_pad)
    y = whole.passed(y) if arch.integers else y
    if arch.trunk:
        y = _normed(weights, _swap(y))
        for i, block in enumerate(arch.trunk):
            around = _depthwise(weights, i, y, pad=(block.context - block.delay, block.delay))
            y = op.add(y, _within(weights, i, around))
            voice += _voice(weights, i, y)
        y = _swap(_layer_norm(weights, "trunk.norm", y))
    answer = _beside(_swap(_acb(weights, y)), voice)
    return ov.Model([op.result(answer)], [x], "cab_cnn_clip")


def _streamed(weights: Weights, b: int, h: int, state: Any, *, edges: bool, in_bytes: bool) -> Any:
    arch = weights.architecture
    interval, parts = arch.interval, kept(arch)
    x = _input([b, h * interval if h > 0 else -1], ov.Type.f32)
    row = _input([b, sum(k.samples * k.channels for k in parts)], state)
    contexts = [_input([b, block.context, arch.stages[-1].filters], state) for block in arch.trunk]
    masks = []
    if edges:
        sizes = [h * unit + more if h > 0 else -1 for unit, _, more in lags(arch)]
        masks = [_input([b, 1, size], ov.Type.boolean) for size in sizes]
    before, inside = iter(_split(row, parts)), iter(masks)
    after: list[Node | None] = []

    def joined(new: Node, samples: int) -> Node:
        """Join what a part of the row kept and what is new; the part's next state is taken from it."""
        old = next(before)
        both = new if old is None else op.concat([_as(old, _type(new)), new], 2)
        after.append(_as(_last(both, samples), state) if samples else None)
        return both

    def masked(y: Node, outside: float, *, swap: bool = False) -> Node:
        """Set the samples outside a stream, near its edges, to their own value."""
        if not edges:
            return y
        here = next(inside)
        return op.select(_swap(here) if swap else here, y, _as(_constant(np.float32(outside)), _type(y)))

    y = whole.heard(x) if arch.integers else _as(op.unsqueeze(x, _ints(1)), state)
    for i, (shape, timing) in enumerate(zip(arch.stages, timings(arch.stages), strict=True)):
        of_input, of_convolved = parts[2 * i : 2 * i + 2]
        both = joined(y, of_input.samples)
        if arch.integers:
            y = masked(whole.convolved(both, weights, i, in_bytes=in_bytes), 0.0)
            y = masked(_pooled(joined(y, of_convolved.samples), shape, timing), 0.0)
            continue
        weight, bias = weights.layer(f"distiller.stages.{i}")
        y = masked(_convolve(both, weight), -np.inf)
        y = _as(_pooled(joined(y, of_convolved.samples), shape, timing), FLOAT)
        # The bias changes nothing about which is the largest: after the pooling it is added to fewer.
        y = _as(masked(op.relu(op.add(y, _constant(bias[None, :, None]))), 0.0), state)
    y = whole.passed(y) if arch.integers else _as(y, FLOAT)
    news, voice = list[Node](), list[Node]()
    if arch.trunk:
        y = masked(_normed(weights, _swap(y)), 0.0, swap=True)
        for i, block in enumerate(arch.trunk):
            news.append(_as(y, state))
            both = op.concat([contexts[i], news[-1]], 1)
            # What lies back is as it was kept; the newest intervals are not rounded.
            here = _as(_middle(both, block), FLOAT) if block.delay else y
            y = op.add(here, _within(weights, i, _depthwise(weights, i, _as(both, FLOAT))))
            y = masked(y, 0.0, swap=True)
            voice += _voice(weights, i, y)
        y = _swap(_layer_norm(weights, "trunk.norm", y))
    rows = [
        op.reshape(_swap(part), _ints([0, k.samples * k.channels]), True)
        for part, k in zip(after, parts, strict=True)
        if part is not None
    ]
    answer = _beside(_swap(_acb(weights, y)), voice)
    results = [op.result(found) for found in (answer, op.concat(rows, 1), *news)]
    return ov.Model(results, [x, row, *contexts, *masks], "cab_cnn_step")


def _split(state: Node, parts: Sequence[Kept]) -> list[Node | None]:
    """Split a row (b, channels, samples) into its parts; empty ones are None."""
    sizes = [k.samples * k.channels for k in parts if k.samples]
    outputs = iter(op.variadic_split(state, _ints(1), _ints(sizes)).outputs())
    return [
        _swap(op.reshape(next(outputs), _ints([0, k.samples, k.channels]), True)) if k.samples else None
        for k in parts
    ]


def _stage(weights: Weights, i: int, x: Node, conv_pad: tuple[int, int], pool_pad: tuple[int, int]) -> Node:
    """Build a stage of a whole clip."""
    shape = weights.architecture.stages[i]
    weight, bias = weights.layer(f"distiller.stages.{i}")
    y = op.add(_convolve(x, weight, conv_pad), _constant(bias[None, :, None]))
    return op.relu(_pool(y, shape.pool, shape.stride, pool_pad))


def _pooled(x: Node, shape: StageShape, timing: StageTiming) -> Node:
    """Build the pooling of a step; what more it would give than the step is asked for is left out."""
    spare = (timing.pool_context - shape.pool) // shape.stride + 1
    if shape.pool == 2 * shape.stride:
        # Halves of windows first: each value is looked at once.
        y = _pool(_pool(x, shape.stride, shape.stride), 2, 1)
    else:
        y = _pool(x, shape.pool, shape.stride)
    if spare > 0:
        y = op.slice(y, _ints([0]), _ints([-spare]), _ints([1]), _ints([2]))
    return y


def _pool(x: Node, size: int, stride: int, pad: tuple[int, int] = (0, 0)) -> Node:
    return op.max_pool(x, [stride], [1], [pad[0]], [pad[1]], [size]).output(0)


def _normed(weights: Weights, x: Node) -> Node:
    """Build the BatchNorm, (b, time, channels)."""
    gain, shift = affine(weights)
    return op.add(op.multiply(x, _constant(gain)), _constant(shift))


def _depthwise(weights: Weights, i: int, x: Node, pad: tuple[int, int] = (0, 0)) -> Node:
    """Build the convolution over time of a block of the trunk, (b, time, channels)."""
    taps, (left, right) = weights[f"trunk.blocks.{i}.taps"], pad
    dilation = weights.architecture.trunk[i].dilation
    kernel = _constant(taps.T[:, None, None])
    return _swap(op.group_convolution(_swap(x), kernel, [1], [left], [right], [dilation]))


def _within(weights: Weights, i: int, x: Node) -> Node:
    """Compute a block of the trunk for each interval, (b, time, channels)."""
    name = f"trunk.blocks.{i}"
    y = _product(weights.layer(f"{name}.widen"), _layer_norm(weights, f"{name}.norm", x))
    return _product(weights.layer(f"{name}.narrow"), op.relu(y))


def _voice(weights: Weights, i: int, y: Node) -> list[Node]:
    """Compute the numbers that distinguish voices, read after block i: (b, time, numbers)."""
    arch = weights.architecture
    if not arch.voice or i + 1 != looking(arch.trunk):
        return []
    return [_product(weights.layer("voice.of_interval"), y)]


def _beside(answer: Node, more: list[Node]) -> Node:
    return op.concat([answer, *more], 2) if more else answer


def _middle(both: Node, block: BlockShape) -> Node:
    """Keep the intervals of (context and step) that a block's output belongs to."""
    here = block.context - block.delay
    stop = np.iinfo(np.int64).max if block.delay == 0 else -block.delay
    return op.slice(both, _ints([here]), _ints([stop]), _ints([1]), _ints([1]))


def _layer_norm(weights: Weights, name: str, x: Node) -> Node:
    gain, shift = weights.layer(name)
    y = op.mvn(x, _ints([2]), True, LAYER_NORM_EPSILON, "inside_sqrt")
    return op.add(op.multiply(y, _constant(gain)), _constant(shift))


def _product(layer: tuple[Floats, Floats], x: Node) -> Node:
    """Build a layer over the last axis."""
    weight, bias = layer
    return op.add(op.matmul(x, _constant(weight), False, True), _constant(bias))


def _acb(weights: Weights, a: Node) -> Node:
    """Build the ACB, (b, features, h) -> (b, all of an answer, h): products as convolutions of width 1."""
    acb = folded(weights)
    # A product of its own, so that c is the same to the bit without it.
    other = [_linear(weights.layer("other"), a)] if weights.architecture.other else []
    parts = op.variadic_split(_linear(acb.first, a), _ints(1), _ints([n for n in acb.split if n]))
    y, alpha, *u = parts.outputs()
    for weight, bias in acb.classifiers:
        y = op.group_convolution(op.relu(y), _constant(weight[..., None]), [1], [0], [0], [1])
        y = op.add(y, _constant(bias.reshape(1, -1, 1)))
    if acb.last is not None:
        y = _linear(acb.last, op.relu(y))
    for layer in acb.attention:
        alpha = _linear(layer, op.relu(alpha))
    alpha = op.softmax(alpha, 1)
    # Softmax over the labels, each of which is one array: faster than over an axis of three.
    ys = op.split(y, _ints(1), acb.labels).outputs()
    largest = reduce(op.maximum, ys)
    es = [op.exp(op.subtract(one, largest)) for one in ys]
    share = op.divide(alpha, reduce(op.add, es))
    c = [op.reduce_sum(op.multiply(one, share), _ints([1]), True) for one in es]
    return op.concat([*c, *other, alpha, *u], 1)


def _linear(layer: tuple[Floats, Floats], x: Node) -> Node:
    weight, bias = layer
    return op.add(_convolve(x, weight[..., None]), _constant(bias[None, :, None]))


def _convolve(x: Node, weight: Floats, pad: tuple[int, int] = (0, 0)) -> Node:
    return op.convolution(x, _as(_constant(weight), _type(x)), [1], [pad[0]], [pad[1]], [1])


def _type(x: Node) -> Any:
    return x.get_output_element_type(0) if isinstance(x, ov.Node) else x.get_element_type()


def _as(x: Node, kind: Any) -> Node:
    """Convert x to this type."""
    return x if _type(x) == kind else op.convert(x, kind)


def _last(x: Node, n: int) -> Node:
    """Return x[:, :, -n:]."""
    return op.slice(x, _ints([-n]), _ints([np.iinfo(np.int64).max]), _ints([1]), _ints([2]))


def _swap(x: Node) -> Node:
    """Swap (b, samples, channels), as state is kept, and (b, channels, samples), as the graph has it."""
    return op.transpose(x, _ints([0, 2, 1]))


def _input(shape: list[int], kind: Any) -> Node:
    return op.parameter(ov.PartialShape(shape), kind)


def _constant(x: Any) -> Node:
    return op.constant(np.ascontiguousarray(x, np.float32))


def _ints(x: Any) -> Node:
    return op.constant(np.array(x, np.int64))
