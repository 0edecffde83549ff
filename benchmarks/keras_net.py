"""CAB-CNN in Keras 3 on torch, layer by layer as the paper has it: what streamcab's own net is compared with.

Called by baselines.py and training.py. `pip install -e '.[baselines]'`; KERAS_BACKEND=torch must be set before this is
imported.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamcab.nn.cabcnn import Architecture, CabCnn

assert keras.backend.backend() == "torch", "set KERAS_BACKEND=torch"


def build(arch: Architecture, intervals: int) -> Any:
    """Build a net of (samples (B, K * I, 1), votes (B, K)) and the answers to clips (B, labels), weights as Keras
    draws them."""
    x = samples = keras.Input((intervals * arch.interval, 1))
    votes = keras.Input((intervals,))
    for stage in arch.stages:
        x = keras.layers.Conv1D(stage.filters, stage.kernel, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling1D(stage.pool, stage.stride, padding="same")(x)
        x = keras.layers.Dropout(stage.dropout)(x)
    a = keras.layers.BatchNormalization()(x)
    n = arch.classifiers
    # The forty classifiers as batched products: kinder to Keras than forty networks side by side.
    width = (None, n, arch.hidden[0])
    c = keras.layers.EinsumDense("btf,fnh->btnh", width, activation="relu", bias_axes="nh")(a)
    layers = [*((units, "relu") for units in arch.hidden[1:]), (len(arch.labels), "softmax")]
    for units, kind in layers:
        c = keras.layers.EinsumDense("btni,nio->btno", (None, n, units), activation=kind, bias_axes="no")(c)
    alpha = a
    for units in arch.attention:
        alpha = keras.layers.Dense(units, activation="relu")(alpha)
    alpha = keras.layers.Dense(n, activation="softmax")(alpha)
    answer = keras.layers.Lambda(_mean, output_shape=(len(arch.labels),))([c, alpha, votes])
    return keras.Model([samples, votes], answer)


def _mean(parts: list[Any]) -> Any:
    """Average answers (B, K, n, labels), attention (B, K, n), votes (B, K) over those that vote: (B, labels)."""
    answers, alpha, votes = parts
    weight = votes / keras.ops.maximum(keras.ops.sum(votes, axis=1, keepdims=True), 1)
    return keras.ops.einsum("btno,btn,bt->bo", answers, alpha, weight)


def _array(t: Tensor, *order: int) -> NDArray[np.float32]:
    return np.asarray(t.detach().permute(order) if order else t.detach())


def put(net: CabCnn, into: Any) -> None:
    """Put the weights of ours into Keras'; ValueError when they do not fit."""

    found = []
    for stage in net.distiller.stages:
        found += [[_array(stage.weight, 2, 1, 0), _array(stage.bias)]]
    norm = net.distiller.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    found += [[_array(t) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]]
    mine = net.acb.classifiers
    first, *rest = zip(mine.weights, mine.biases, strict=True)
    answering = [[_array(first[0], 1, 0, 2), _array(first[1])], *([_array(w), _array(b)] for w, b in rest)]
    weighing = [[_array(layer.weight, 1, 0), _array(layer.bias)] for layer in net.acb.attention]
    kinds: dict[str, list[Any]] = {"EinsumDense": answering, "Dense": weighing}
    for layer in into.layers:
        name = type(layer).__name__
        if layer.weights and name != "Dropout":
            layer.set_weights(kinds[name].pop(0) if name in kinds else found.pop(0))
    if found or answering or weighing:
        raise ValueError(f"{len(found) + len(answering) + len(weighing)} layers have no place in Keras' net")


def without_dropout(arch: Architecture) -> Architecture:
    """Return the same architecture, but with nothing drawn by chance."""
    return dataclasses.replace(arch, stages=tuple(dataclasses.replace(s, dropout=0.0) for s in arch.stages))
