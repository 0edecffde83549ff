"""The stages of a distiller in whole numbers (integers.py), as parts of OpenVINO's graphs.

Between stages flow bytes, (batch, channels, time). The two bytes of a sample follow each other in time, so the first
stage moves on by two of them. Where the processor's products of bytes are exact, OpenVINO computes in bytes; elsewhere
the same numbers are computed in float32, to the same bits. Knows nothing of streams.
"""

from typing import Any

import numpy as np

from streamcab.nn import integers
from streamcab.nn.backend.unreported import op, ov
from streamcab.nn.weights import Weights

Node = Any
BYTE, FLOAT = ov.Type.u8, ov.Type.f32


def heard(x: Node) -> Node:
    """Turn samples (b, T) into their bytes, (b, 1, 2 * T)."""
    scaled = op.round(op.multiply(x, _float(1 / integers.SAMPLE)), "half_to_even")
    n = op.unsqueeze(op.clamp(scaled, integers.LOWEST, integers.HIGHEST), _ints([2]))
    shifted = op.add(n, _float(integers.COARSE // 2))
    coarse = op.floor(op.multiply(shifted, _float(1 / integers.COARSE)))
    both = op.add(op.multiply(n, _float([0, 1])), op.multiply(coarse, _float([1, -integers.COARSE])))
    both = op.convert(op.add(both, _float(integers.MIDDLE)), BYTE)
    return op.unsqueeze(op.reshape(both, _ints([0, -1]), True), _ints([1]))


def convolved(y: Node, weights: Weights, i: int, pad: tuple[int, int] = (0, 0), *, in_bytes: bool) -> Node:
    """Convolve as stage i does, up to the pooling, which commutes with all that a stage does.

    Args:
        y: Bytes.
        weights: Of the net.
        i: Number of the stage.
        pad: Samples of nothing before and after.
        in_bytes: Whether to compute in bytes.
    """
    first = i == 0
    weight, bias = weights.layer(f"distiller.stages.{i}")
    counts, units = integers.whole(weight, first=first)
    if first:
        counts = counts.transpose(0, 2, 1).reshape(len(counts), 1, -1)
    x = op.convert(y, FLOAT)
    if first:
        x = op.subtract(x, _float(integers.MIDDLE))
    x = op.multiply(x, _float(integers.unit(first)))
    units = units[:, None, None]
    if in_bytes:
        kernel = op.multiply(op.convert(op.constant(np.ascontiguousarray(counts)), FLOAT), _float(units))
    else:
        kernel = _float(counts * units)
    step = 2 if first else 1
    z = op.convolution(x, kernel, [step], [step * pad[0]], [step * pad[1]], [1])
    z = op.relu(op.add(z, _float(bias[None, :, None])))
    if in_bytes:
        most = integers.MOST
        z = op.fake_quantize(z, _float(0), _float(most * integers.PASSED), _float(0), _float(most), most + 1)
    else:
        z = op.clamp(op.round(op.multiply(z, _float(1 / integers.PASSED)), "half_to_even"), 0, integers.MOST)
    return op.convert(z, BYTE)


def passed(y: Node) -> Node:
    """Turn bytes that a stage passed on into the numbers that they are."""
    return op.multiply(op.convert(y, FLOAT), _float(integers.PASSED))


def probe() -> tuple[Any, Any, Any]:
    """Return a convolution whose sums are the largest that bytes give, with an input and its output."""
    x = op.parameter(ov.PartialShape([1, 8, 32]), BYTE)
    weight = np.full((32, 8, 8), integers.WEIGHT, np.int8)
    unit = 1 / (weight[0].size * 2)
    kernel = op.multiply(op.convert(op.constant(weight), FLOAT), _float(np.full((32, 1, 1), unit / 128)))
    y = op.relu(op.convolution(op.convert(x, FLOAT), kernel, [1], [0], [0], [1]))
    y = op.convert(op.fake_quantize(y, _float(0), _float(255), _float(0), _float(255), 256), BYTE)
    given = np.full((1, 8, 32), integers.MOST, np.uint8)
    wanted = np.rint(given[0].astype(np.float64).mean() * integers.WEIGHT / 256)
    return ov.Model([op.result(y)], [x], "probe"), given, wanted


def _float(x: Any) -> Node:
    return op.constant(np.ascontiguousarray(x, np.float32))


def _ints(x: Any) -> Node:
    return op.constant(np.array(x, np.int64))
