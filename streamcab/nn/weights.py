"""The weights of a net as plain arrays, apart from any framework: what a checkpoint holds and every backend reads.

Their names and shapes are those of the torch modules in cabcnn.py, which are built from them where torch computes.
Here too stands what all ways to serve a net share: the BatchNorm as one gain and one shift, and the ACB folded into
fewer products. Knows nothing of files, of streams or of how a product is computed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamcab.dsp import detector
from streamcab.nn import integers, voice
from streamcab.nn.architecture import Architecture

Floats = NDArray[np.float32]

NORM_EPSILON = 1e-3
"""Of the BatchNorm, as in Keras."""
LAYER_NORM_EPSILON = 1e-5


class Net(Protocol):
    """A net whose weights can be read: `Weights` themselves, or the torch modules that hold them."""

    @property
    def architecture(self) -> Architecture:
        """The architecture of the net."""

    @property
    def weights(self) -> "Weights":
        """Its weights as they are now."""


@dataclass(frozen=True)
class Weights:
    """An architecture and its arrays by name, each in the shape and type that `shapes` gives."""

    architecture: Architecture
    arrays: Mapping[str, NDArray[Any]]

    @property
    def weights(self) -> "Weights":
        """Itself: see Net."""
        return self

    def __getitem__(self, name: str) -> Floats:
        return self.arrays[name]

    def layer(self, name: str) -> tuple[Floats, Floats]:
        """Return weight and bias of a layer, a norm or a stage."""
        return self[f"{name}.weight"], self[f"{name}.bias"]


def shapes(architecture: Architecture) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return type and shape of every array of such a net, by name."""
    found = {name: (np.dtype(np.float32), shape) for name, shape in _floats(architecture)}
    return found | {"distiller.norm.num_batches_tracked": (np.dtype(np.int64), ())}


def _floats(arch: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    channels = integers.channels(True, 0) if arch.integers else 1
    for i, stage in enumerate(arch.stages):
        yield f"distiller.stages.{i}.weight", (stage.filters, channels, stage.kernel)
        yield f"distiller.stages.{i}.bias", (stage.filters,)
        channels = stage.filters
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield f"distiller.norm.{name}", (channels,)
    for i, block in enumerate(arch.trunk):
        yield f"trunk.blocks.{i}.taps", (block.kernel, channels)
        yield from _vector(f"trunk.blocks.{i}.norm", channels)
        yield from _linear(f"trunk.blocks.{i}.widen", channels, arch.trunk_hidden)
        yield from _linear(f"trunk.blocks.{i}.narrow", arch.trunk_hidden, channels)
    if arch.trunk:
        yield from _vector("trunk.norm", channels)
    n, labels, k = arch.classifiers, len(arch.labels), arch.summary
    for i, (inputs, outputs) in enumerate(pairwise((channels, *arch.hidden, labels))):
        yield f"acb.classifiers.weights.{i}", (n, inputs, outputs)
        yield f"acb.classifiers.biases.{i}", (n, outputs)
    for i, (inputs, outputs) in enumerate(pairwise((channels, *arch.attention, n))):
        yield from _linear(f"acb.attention.{i}", inputs, outputs)
    if k:
        yield from _linear("summary", channels, k)
        yield from _linear("evidence", arch.evidence, labels)
    if arch.other:
        yield from _linear("other", channels, 1)
    if arch.voice:
        yield from _linear("voice.of_interval", channels, arch.voice)
        yield from ((f"voice.{name}", shape) for name, shape in voice.shapes(arch.voice).items())
    if arch.phones:
        yield "phones.usual", (arch.phones, k)
        yield "phones.deviation", (k,)
        yield from _linear("phones.hidden", (2 * arch.reach + 1) * k, arch.phone_hidden)
        yield from _linear("phones.out", arch.phone_hidden, arch.phones)
    if arch.detector:
        yield from (
            (f"detector.{name}", shape)
            for name, shape in detector.shapes(arch.detector, arch.detector_form).items()
        )


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _vector(name: str, n: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (n,)
    yield f"{name}.bias", (n,)


def detector_of(net: Net) -> detector.Weights | None:
    """Return the weights of a net's speech detector; None where the gate hears level."""
    if not net.architecture.detector:
        return None
    arrays, form = net.weights.arrays, net.architecture.detector_form
    return detector.weights({name: arrays[f"detector.{name}"] for name in detector.shapes(form=form)}, form)


def check_integers(weights: Weights) -> None:
    """Check that a distiller in whole numbers is one.

    Raises:
        ValueError: It is not; the message says where.
    """
    for i in range(len(weights.architecture.stages) if weights.architecture.integers else 0):
        name = f"distiller.stages.{i}"
        try:
            integers.check(*weights.layer(name), first=i == 0)
        except ValueError as error:
            raise ValueError(f"{name} holds {error}") from None


def affine(weights: Weights) -> tuple[Floats, Floats]:
    """Return what the BatchNorm multiplies by and adds at inference, each (features,)."""
    weight, bias = weights.layer("distiller.norm")
    mean, variance = weights["distiller.norm.running_mean"], weights["distiller.norm.running_var"]
    gain = weight / np.sqrt(variance + np.float32(NORM_EPSILON))
    return gain, bias - mean * gain


@dataclass(frozen=True)
class FoldedAcb:
    """The ACB and the summary beside it as inference wants them, behind the BatchNorm where no trunk lies between.

    All first layers, the classifiers' and the attention's, read the same vector: they are one product.

    first        (width, features), (width,)
    split        how much of that width is the classifiers', the attention's, the summary's
    classifiers  their layers between: (classifiers, outputs, inputs), (classifiers, outputs)
    last         their last layer, label by label: (labels * classifiers, inputs), (labels * classifiers,); None where
                 that is the first
    labels       how many there are
    attention    its further layers: (outputs, inputs), (outputs,)
    """

    first: tuple[Floats, Floats]
    split: tuple[int, int, int]
    classifiers: list[tuple[Floats, Floats]]
    last: tuple[Floats, Floats] | None
    labels: int
    attention: list[tuple[Floats, Floats]]


def without_voice(net: Net) -> Net:
    """Return the same net without what tells voices apart: its answers are those of a net that never had it."""
    if not net.architecture.voice:
        return net
    weights = net.weights
    others = {name: a for name, a in weights.arrays.items() if not name.startswith("voice.")}
    return Weights(replace(weights.architecture, voice=0), others)


def without_other(net: Net) -> Net:
    """Return the same net without the score of accents of none of the labels."""
    if not net.architecture.other:
        return net
    weights = net.weights
    others = {name: a for name, a in weights.arrays.items() if not name.startswith("other.")}
    return Weights(replace(weights.architecture, other=False), others)


def folded(weights: Weights) -> FoldedAcb:
    """Return the inference form of a net's ACB."""
    arch = weights.architecture
    classifiers = [
        (weights[f"acb.classifiers.weights.{i}"].transpose(0, 2, 1), weights[f"acb.classifiers.biases.{i}"])
        for i in range(len(arch.hidden) + 1)
    ]
    attention = [weights.layer(f"acb.attention.{i}") for i in range(len(arch.attention) + 1)]
    (mine, my_bias), (alpha, alpha_bias) = classifiers[0], attention[0]
    last = None
    if arch.hidden:
        last = _by_label(*classifiers.pop())
    else:
        mine, my_bias = mine.transpose(1, 0, 2), my_bias.T
    mine = mine.reshape(-1, mine.shape[2])
    beside = [weights.layer("summary")] if arch.summary else []
    weight = np.concatenate([mine, alpha, *(w for w, _ in beside)])
    bias = np.concatenate([my_bias.ravel(), alpha_bias, *(b for _, b in beside)])
    if not arch.trunk:
        gain, shift = affine(weights)
        weight, bias = weight * gain, bias + weight @ shift
    split = len(mine), len(alpha), arch.summary
    return FoldedAcb((weight, bias), split, classifiers[1:], last, len(arch.labels), attention[1:])


def _by_label(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Return a layer of each classifier, (n, labels, inputs) and (n, labels), as one of all, label by label."""
    n, labels, inputs = weight.shape
    dense = np.zeros((labels, n, n, inputs), np.float32)
    dense[:, np.arange(n), np.arange(n)] = weight.transpose(1, 0, 2)
    return dense.reshape(labels * n, n * inputs), bias.T.ravel()
