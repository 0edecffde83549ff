"""Whole clips: the features and answers that the engine gives a stream, whatever the length and the rate."""

import tracemalloc

import numpy as np
import pytest
import torch
from corpus import syllables
from numpy.typing import NDArray

from streamcab.audio.ring import Bank
from streamcab.dsp.frontend import front_end
from streamcab.dsp.gate import MISSING, VOICED
from streamcab.dsp.normalise_offline import normalise_whole
from streamcab.inference import offline
from streamcab.inference.engine import Engine
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.weights import detector_of

Floats = NDArray[np.float32]


def model(**keys: object) -> CabCnn:
    """A seeded net whose BatchNorm is not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = CabCnn(Architecture(("a", "b", "c"), **keys))  # type: ignore[arg-type]
        net.distiller.norm.running_mean.uniform_(0, 1)  # type: ignore[union-attr,operator]
        return net.eval()


def streamed(net: CabCnn, samples: Floats, rate: int) -> tuple[Floats, NDArray[np.uint8]]:
    """c and kind of every interval as the engine answers them."""
    bank = Bank(rate, 1, len(samples) + 1)
    engine = Engine(net, 1)
    engine.attach(bank, 0)
    bank.write(0, samples, 0.0)
    bank.finish(0)
    out = engine.advance()
    first = np.concatenate([np.arange(e.c.shape[1]) + e.first[0] for e in out])
    c = np.concatenate([e.c[0] for e in out])
    kind = np.concatenate([e.kind[0] for e in out])
    return c[first >= 0], kind[first >= 0]


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_blocks_and_pieces_leave_no_trace(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "POOL_S", 0.7)
    monkeypatch.setattr(offline, "NET_S", 1.1)
    net = model()
    samples = syllables(400.0, 5.013, rate, 1)
    answered, heard = offline.intervals(net, samples, rate)
    c, alpha = answered.c, answered.alpha
    assert (heard.kind == VOICED).mean() > 0.3
    with torch.inference_mode():
        whole = [t[0].numpy() for t in net(torch.from_numpy(heard.x))]
    np.testing.assert_allclose(c, whole[0], atol=1e-6)
    np.testing.assert_allclose(alpha, whole[1], atol=1e-6)
    c_stream, kind_stream = streamed(net, samples, rate)
    np.testing.assert_allclose(c, c_stream, atol=1e-5)
    np.testing.assert_array_equal(heard.kind[0], kind_stream)


def test_features_are_those_of_the_front_end_in_one_go() -> None:
    rate = 8000
    samples = syllables(400.0, 12.3, rate, 2)
    arch = Architecture(("a", "b"))
    heard = offline.features(samples, rate, arch)
    k = len(samples) // 200
    pooled = front_end(rate, 8000, 4000, 100).pool(samples[None, : k * 200], 0, k)
    want = normalise_whole(pooled, 0.025, "running")
    np.testing.assert_array_equal(heard.x, want.x)
    np.testing.assert_array_equal(heard.kind, want.kind)


@pytest.mark.parametrize("n", [0, 1, 199])
def test_less_than_an_interval_is_no_interval(n: int) -> None:
    answered, heard = offline.intervals(model(), np.zeros(n, np.float32), 8000)
    c, alpha = answered.c, answered.alpha
    assert (c.shape, alpha.shape, heard.x.shape, heard.kind.shape) == ((0, 3), (0, 40), (1, 0), (1, 0))


def test_a_missing_sample_makes_its_interval_missing() -> None:
    samples = syllables(400.0, 3.0, 8000, 3)
    samples[10_000] = np.nan
    answered, heard = offline.intervals(model(), samples, 8000)
    c = answered.c
    assert np.flatnonzero(heard.kind[0] == MISSING).tolist() == [50]
    assert np.isfinite(c).all()


def test_a_clip_model_hears_the_first_seconds_that_it_was_trained_on() -> None:
    samples = syllables(400.0, 4.0, 8000, 4)
    arch = Architecture(("a", "b"), normaliser="clip", gate=False, extra={"seconds": 2.0})
    heard = offline.features(samples, 8000, arch)
    np.testing.assert_array_equal(heard.x, offline.features(samples[:16000], 8000, arch).x)
    assert heard.kind.shape == (1, 80)
    # Mean and deviation of samples, so the maxima's are not 0 and 1, but the scale is the samples' own.
    scale = 1 / samples[:16000].std()
    want = (samples[:16000].reshape(-1, 2).max(1) - samples[:16000].mean()) * scale
    np.testing.assert_allclose(heard.x[0], want, atol=1e-4)


def test_memory_grows_with_a_clip_and_not_with_its_square() -> None:
    """The detector's tables did so: a hundred clips of a corpus took seven gigabytes."""
    net = checkpoint.load(checkpoint.bundled()).net
    samples = syllables(400.0, 30.0, 8000, 2)
    tracemalloc.start()
    try:
        offline.features(samples, 8000, net.architecture, detector_of(net))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6
