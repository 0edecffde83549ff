"""Speech-like audio and lively little models, made from a seed, and what they should come to.

Voices are sums of harmonics, so the same words can be sampled at any rate: no recorded speech is needed to
prove that two ways of computing agree. The `naive_` functions are the specification again, sample by sample
in double precision: slow, plain, and sharing no code with streamcab.
"""

from collections.abc import Hashable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from math import ceil, gcd

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

from streamcab.dsp import bands, detector
from streamcab.nn import integers
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.distiller import Stage
from streamcab.nn.geometry import BlockShape, StageShape

Samples = NDArray[np.float32]
Doubles = NDArray[np.float64]

SMALL_STAGES = (
    StageShape(4, 4, 4, 2, 0.15),
    StageShape(6, 4, 4, 2, 0.15),
    StageShape(6, 10, 10, 5, 0.10),
    StageShape(12, 10, 10, 5, 0.0),
)
"""Table 2 with fewer filters: the same kernels, strides and delays, and quick."""
SMALL_TRUNK = {
    "trunk": (BlockShape(3, 1, 1), BlockShape(5, 2, 2), BlockShape(3, 3, 0)),
    "trunk_hidden": 20,
}
"""Fields of Architecture."""
LONG_STAGES = (*SMALL_STAGES[:2], StageShape(6, 60, 10, 5, 0.10), StageShape(12, 80, 10, 5, 0.0))
"""The same with long kernels at the end: a delay of 11 intervals in place of 3."""


def talk(seconds: float, rate: int = 8000, seed: int = 0, rms: float = 0.1, pauses: bool = True) -> Samples:
    """A voice: glottal pulses through moving resonances, in syllables of 0.12 to 0.28 s, phrases and pauses.

    Begins with a syllable at 0. Digital silence between phrases. `rms` is that of the whole.
    """
    return _talk(seconds, rate, seed, rms, pauses).copy()


@cache
def _talk(seconds: float, rate: int, seed: int, rms: float, pauses: bool) -> Samples:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    knots, loudness, at = [0.0], [0.0], 0.0
    while at < seconds:
        for _ in range(int(rng.integers(3, 8))):
            length = rng.uniform(0.12, 0.28)
            knots += [at + 0.02, at + 0.3 * length, at + 0.7 * length, at + length]
            loudness += [rng.uniform(0.05, 0.3), rng.uniform(0.4, 1), rng.uniform(0.4, 1), 0.02]
            at += length + rng.uniform(0.01, 0.06)
        if pauses:
            knots += [at + 0.03, at + rng.uniform(0.25, 0.7)]
            loudness += [0.0, 0.0]
            at = knots[-1]
    envelope = np.interp(t, knots, loudness)

    def wander(low: float, high: float, every: float) -> NDArray[np.float64]:
        points = np.arange(0.0, seconds + 2 * every, every)
        return np.interp(t, points, rng.uniform(low, high, len(points)))

    base = rng.uniform(100, 180)
    pitch = wander(0.8 * base, 1.25 * base, 0.3)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = [(wander(300, 850, 0.17), 80), (wander(900, 2200, 0.17), 110), (wander(2300, 3100, 0.2), 160)]
    voice = np.zeros_like(t)
    for h in range(1, int(3400 / base) + 1):
        f = h * pitch
        gain = sum((1.5**-i) / np.sqrt(1 + ((f - c) / w) ** 2) for i, (c, w) in enumerate(formants))
        voice += np.where(f < min(3600, 0.45 * rate), gain / h**0.7, 0) * np.sin(h * phase + 0.3 * h * h)
    voice *= envelope
    return (voice * (rms / max(np.sqrt(np.sum(voice**2) / max(len(t), 1)), 1e-12))).astype(np.float32)


def noise(seconds: float, rate: int = 8000, seed: int = 0, rms: float = 0.01, pink: bool = False) -> Samples:
    """Steady noise, white or falling by 3 dB an octave."""
    rng = np.random.default_rng(seed + 1000)
    x = rng.standard_normal(round(seconds * rate))
    if pink and len(x):
        spectrum = np.fft.rfft(x)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        x = np.fft.irfft(spectrum, len(x))
    return (x * (rms / np.sqrt(np.sum(x**2) / max(len(x), 1) + 1e-30))).astype(np.float32)


def hum(seconds: float, rate: int = 8000, frequency: float = 50.0, rms: float = 0.01) -> Samples:
    """A steady tone."""
    t = np.arange(round(seconds * rate)) / rate
    return (rms * np.sqrt(2) * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


def silence(seconds: float, rate: int = 8000) -> Samples:
    """Digital silence."""
    return np.zeros(round(seconds * rate), np.float32)


def tiny_model(seed: int = 0, *, labels: tuple[str, ...] = ("au", "uk", "us"), **kw: object) -> CabCnn:
    """A CabCnn that nobody trained, whose c_t move a lot, in evaluation mode.

    Every bias and every statistic of BatchNorm is far from its initial value: a stage hears zeros and gives
    something else, so padding put at the wrong place shows. `kw` are fields of Architecture.
    """
    make = (
        _tiny_model if all(isinstance(value, Hashable) for value in kw.values()) else _tiny_model.__wrapped__
    )
    return deepcopy(make(seed, labels, **kw))


@cache
def _tiny_model(seed: int, labels: tuple[str, ...], **kw: object) -> CabCnn:
    architecture = replace(Architecture(labels), **kw)  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(seed)

    def uniform(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.rand(like.shape, generator=draw) * (high - low) + low

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CabCnn(architecture)
    with torch.no_grad():
        for stage in model.distiller.stages:
            stage.bias.copy_(uniform(stage.bias, -0.3, 0.3))
            stage.weight.mul_(1.5)
            if architecture.integers:
                to_whole_numbers(stage, first=stage is model.distiller.stages[0])
        norm = model.distiller.norm
        norm.weight.copy_(uniform(norm.weight, 0.5, 1.5))
        norm.bias.copy_(uniform(norm.bias, -0.5, 0.5))
        # Statistics of about what the net meets, then moved.
        heard = torch.randn(1, 40 * architecture.interval, generator=draw).abs()
        y = model.distiller.heard(heard)
        for stage in model.eval().distiller.stages:
            y = stage(y)
        norm.running_mean.copy_(y.mean((0, 1)) * uniform(norm.running_mean, 0.7, 1.3))
        norm.running_var.copy_((y.var((0, 1)) + 0.05) * uniform(norm.running_var, 0.7, 1.5))
        if model.trunk is not None:
            for block in model.trunk.blocks:
                block.norm.weight.copy_(uniform(block.norm.weight, 0.7, 1.3))
                block.norm.bias.copy_(uniform(block.norm.bias, -0.3, 0.3))
            model.trunk.norm.bias.copy_(uniform(model.trunk.norm.bias, -0.5, 0.5))
        for layer in model.acb.attention:
            layer.bias.copy_(uniform(layer.bias, -0.3, 0.3))
            layer.weight.mul_(1.2)
        for bias in model.acb.classifiers.biases:
            bias.copy_(uniform(bias, -0.5, 0.5))
        for weight in model.acb.classifiers.weights:
            weight.mul_(1.5)
    return model.eval()


def detecting_model(seed: int = 0, **kw: object) -> CabCnn:
    """The same with a speech detector that nobody trained: it calls about half of any sound speech, at random."""
    return deepcopy(_detecting_model(seed, **kw))


@cache
def _detecting_model(seed: int, **kw: object) -> CabCnn:
    model = tiny_model(seed, detector=detector.CHANNELS, detector_form=detector.FORM, **kw)
    rng = np.random.default_rng(seed)
    tensors = {k: np.rint(rng.normal(0, 12, s)).clip(-128, 128) / 64 for k, s in detector.shapes().items()}
    tensors = {k: t.astype(np.float32) for k, t in tensors.items()}
    tensors["bias"][:] = 0
    levels = bands.levels((talk(9, 8000, seed) + noise(9, 8000, seed, 3e-2)).reshape(-1, bands.INTERVAL))
    score = detector.Detector(detector.weights(tensors), 1, len(levels)).push(
        np.zeros(1, np.intp), levels[None]
    )
    tensors["bias"][:] = -np.rint(np.median(score) * 64) / 64
    assert model.detector is not None
    model.detector.load_state_dict({k: torch.from_numpy(t) for k, t in tensors.items()})
    return model


def to_whole_numbers(stage: Stage, *, first: bool) -> None:
    """Round weights and biases of a stage as integers.py has it."""
    fine = torch.tensor([1.0, integers.COARSE])[None, :, None] if first else torch.ones(1)
    largest = (stage.weight / fine).abs().amax((1, 2))
    units = 2 ** torch.ceil(torch.log2(largest / integers.WEIGHT))
    of_weight, of_sum = units[:, None, None] * fine, units * integers.unit(first)
    stage.weight.copy_((stage.weight / of_weight).round() * of_weight)
    stage.bias.copy_(((stage.bias / of_sum - 0.5).round() + 0.5) * of_sum)


def naive_resample(x: NDArray[np.floating], rate_in: int, rate_out: int) -> Doubles:
    """Output n stands at input position n * rate_in / rate_out; a windowed sinc of 16 crossings a side."""
    if rate_in == rate_out:
        return x.astype(np.float64)
    common = gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    half = ceil(16 * max(1.0, rate_in / rate_out) / 0.94)
    cutoff = 0.94 * min(rate_in, rate_out) / (up * rate_in)
    taps = firwin(2 * half * up + 1, cutoff, window=("kaiser", 9.0))
    y: Doubles = resample_poly(x.astype(np.float64), up, down, window=taps)
    return y


@dataclass
class NaiveIntervals:
    """Whole intervals of a clip: maxima (K, I), and of each count, sum, sum of squares, and if missing."""

    maxima: Doubles
    count: Doubles
    sum: Doubles
    square: Doubles
    missing: NDArray[np.bool_]


def naive_pool(
    x: Samples, rate_in: int, rate: int, pooled_rate: int = 4000, interval: int = 100
) -> NaiveIntervals:
    """Sub-interval i is samples floor(i * rate / pooled_rate) .. of the resampled clip."""
    gone = np.isnan(x)
    y = naive_resample(np.where(gone, 0, x), rate_in, rate)
    edge = [0]
    while (len(edge) * rate) // pooled_rate <= len(y):
        edge.append(len(edge) * rate // pooled_rate)
    k = (len(edge) - 1) // interval
    maxima = np.array([y[edge[i] : edge[i + 1]].max() for i in range(k * interval)]).reshape(k, interval)
    cuts = [y[edge[j * interval] : edge[(j + 1) * interval]] for j in range(k)]
    own = [j * interval * rate_in // pooled_rate for j in range(k + 1)]
    return NaiveIntervals(
        maxima,
        np.array([len(c) for c in cuts], np.float64),
        np.array([c.sum() for c in cuts]),
        np.array([(c * c).sum() for c in cuts]),
        np.array([gone[a:b].any() for a, b in pairwise(own)], np.bool_),
    )


SILENT, VOICED, MISSING = 0, 1, 2


def naive_running(clip: NaiveIntervals) -> tuple[Doubles, NDArray[np.uint8]]:
    """Gate and running normaliser of intervals of 25 ms, as normalise.py tells: x (K, I), kind (K,)."""
    n = len(clip.count)
    power = np.maximum(clip.square / clip.count - (clip.sum / clip.count) ** 2, 0)
    x, kind = np.zeros(clip.maxima.shape), np.where(clip.missing, MISSING, SILENT).astype(np.uint8)
    voiced: list[int] = []
    since, hold_from, active = 0, -1, False

    def lowest(first: int, stop: int) -> float:
        return min((power[j] for j in range(max(first, since), stop) if not clip.missing[j]), default=np.inf)

    def total(k: int) -> Doubles:
        """Count, sum and squares of what is voiced in the 30 blocks of a second that end with k's."""
        some = [j for j in voiced[-1240:] if k // 40 - 30 < j // 40]
        return np.array([clip.count[some].sum(), clip.sum[some].sum(), clip.square[some].sum()])

    def hear(js: list[int], stats: Doubles) -> None:
        mean = stats[1] / max(stats[0], 1)
        deviation = np.sqrt(max(stats[2] / max(stats[0], 1) - mean**2, 1e-10))
        for j in js:
            if not clip.missing[j]:
                x[j] = (clip.maxima[j] - mean) / deviation

    def end_hold(k: int) -> bool:
        """Decide on the intervals hold_from .. k."""
        held = [j for j in range(hold_from, k + 1) if not clip.missing[j]]
        floor = min((power[j] for j in held if j > hold_from), default=np.inf)
        loud = [j for j in held if power[j] > max(8 * floor, 1e-10)]
        some = [j for j in loud if power[j] > 1e-3 * power[loud].mean()]
        if len(some) < 4:
            return False
        voiced.extend(some)
        kind[some] = VOICED
        hear(list(range(hold_from, k + 1)), total(k))
        return True

    for k in range(n):
        if active and k % 40 == 0 and not any(k // 40 - 30 < j // 40 for j in voiced[-1:]):
            active = False
        if not active and hold_from < 0 and not clip.missing[k] and power[k] > 1e-10:
            before = lowest(k - 80, k)
            if before == np.inf or power[k] > 8 * before:
                # The interval in which something begins is filled in part only: no floor.
                hold_from, since = k, k + 1
        if active:
            count, mean, square = total(k)
            speech = square / max(count, 1) - (mean / max(count, 1)) ** 2
            if not clip.missing[k] and power[k] > max(8 * lowest(k - 79, k + 1), 1e-3 * speech, 1e-10):
                voiced.append(k)
                kind[k] = VOICED
            hear([k], total(k))
        elif hold_from >= 0 and (k - hold_from == 39 or k == n - 1):
            active, hold_from = end_hold(k), -1
    return x, kind


def naive_net(model: CabCnn, x: Doubles) -> tuple[Doubles, Doubles]:
    """c (K, labels) and attention (K, classifiers) of pooled samples (K * I,), by Keras' conventions."""
    weights = {name: t.detach().double().numpy() for name, t in model.state_dict().items()}
    y = x.reshape(-1, 1)
    for i, stage in enumerate(model.architecture.stages):
        w, b = weights[f"distiller.stages.{i}.weight"], weights[f"distiller.stages.{i}.bias"]
        left = (stage.kernel - 1) // 2
        padded = np.pad(y, ((left, stage.kernel - 1 - left), (0, 0)))
        y = b + sum(padded[k : k + len(y)] @ w[:, :, k].T for k in range(stage.kernel))
        y = np.maximum(y, 0)
        out = -(-len(y) // stage.stride)
        pad = max((out - 1) * stage.stride + stage.pool - len(y), 0)
        padded = np.pad(y, ((pad // 2, pad - pad // 2), (0, 0)), constant_values=-np.inf)
        y = np.array([padded[t * stage.stride : t * stage.stride + stage.pool].max(0) for t in range(out)])
    gain = weights["distiller.norm.weight"] / np.sqrt(weights["distiller.norm.running_var"] + 1e-3)
    a = (y - weights["distiller.norm.running_mean"]) * gain + weights["distiller.norm.bias"]

    def softmax(z: Doubles) -> Doubles:
        e = np.exp(z - z.max(-1, keepdims=True))
        soft: Doubles = e / e.sum(-1, keepdims=True)
        return soft

    alpha = a
    layers = len(model.architecture.attention) + 1
    for i in range(layers):
        alpha = alpha @ weights[f"acb.attention.{i}.weight"].T + weights[f"acb.attention.{i}.bias"]
        alpha = np.maximum(alpha, 0) if i < layers - 1 else softmax(alpha)
    c = np.zeros((len(a), len(model.architecture.labels)))
    layers = len(model.architecture.hidden) + 1
    for n in range(model.architecture.classifiers):
        z = a
        for i in range(layers):
            z = z @ weights[f"acb.classifiers.weights.{i}"][n] + weights[f"acb.classifiers.biases.{i}"][n]
            z = np.maximum(z, 0) if i < layers - 1 else softmax(z)
        c += alpha[:, n : n + 1] * z
    return c, alpha


def naive_intervals(model: CabCnn, x: Samples, rate: int) -> tuple[Doubles, Doubles, NDArray[np.uint8]]:
    """Every interval of a whole clip: c (K, labels), attention (K, classifiers), kind (K,)."""
    arch = model.architecture
    clip = naive_pool(x, rate, arch.rate, arch.pooled_rate, arch.interval)
    heard, kind = naive_running(clip)
    c, alpha = naive_net(model, heard.ravel())
    return c, alpha, kind
