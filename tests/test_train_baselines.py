"""The paper's baselines: as many parameters as published, and pictures in, logits out."""

import numpy as np
import pytest
import torch
from corpus import syllables
from streamcab_train.baselines import BASELINES
from streamcab_train.spectrogram import jet, picture


def parameters(name: str, labels: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in BASELINES[name].build(labels).parameters())


@pytest.mark.parametrize(
    ("name", "count"), [("AlexNet", 61_100_840), ("VGG11-A", 132_863_336), ("ResNet18", 11_689_512)]
)
def test_as_many_parameters_as_published(name: str, count: int) -> None:
    assert parameters(name, 1000) == count


def test_the_gate_replaces_a_convolution_and_adds_none() -> None:
    # Where a block widens, both of its convolutions read the narrow side: 9 * narrow * wide less squared.
    widening = sum(9 * n * 2 * n for n in (64, 128, 256))
    assert parameters("ResNet18", 1000) - parameters("GatedResNet", 1000) == widening


def test_attention_costs_a_dense_layer_and_a_weight() -> None:
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128)
    attention = 128 * 64 + 64 + 64 + 1
    assert parameters("AttentionCNN", 3) == convolutions + attention + 128 * 3 + 3


@pytest.mark.parametrize("name", BASELINES)
def test_pictures_of_the_papers_size_and_of_the_smallest_give_logits(name: str) -> None:
    baseline = BASELINES[name]
    torch.manual_seed(0)
    with torch.device("meta"):
        net = baseline.build(3)
        assert net(torch.zeros(2, baseline.channels, baseline.size, baseline.size)).shape == (2, 3)
        assert net(torch.zeros(2, baseline.channels, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize("name", ["ResNet18", "GatedResNet", "AttentionCNN"])
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    net = BASELINES[name].build(3)
    x = torch.randn(4, BASELINES[name].channels, 64, 64)
    torch.nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in net.named_parameters())


def test_a_tone_is_a_line_at_its_height() -> None:
    rate, size = 8000, 64
    for hertz in (500, 1500, 3000):
        x = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
        grey = picture(x, rate, size, 1)
        assert grey.shape == (1, size, size)
        # Row 0 is the highest frequency.
        assert size - 1 - int(grey[0].mean(1).argmax()) == pytest.approx(hertz / 4000 * size, abs=1.5)


def test_loudness_and_scale_do_not_show() -> None:
    x = syllables(700, 1.0, 8000, 0)
    assert picture(x * np.float32(0.01), 8000, 64, 3) == pytest.approx(picture(x, 8000, 64, 3), abs=1e-4)


def test_pictures_lie_between_minus_one_and_one_however_short() -> None:
    for n in (1, 100, 8000):
        shot = picture(syllables(700, 1.0, 8000, 0)[:n], 8000, 64, 3)
        assert shot.shape == (3, 64, 64)
        assert -1 <= shot.min() <= shot.max() <= 1
    assert np.isfinite(picture(np.full(500, np.nan, np.float32), 8000, 64, 3)).all()


def test_the_colours_are_matplotlibs() -> None:
    colormaps = pytest.importorskip("matplotlib").colormaps
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    # Its table has other corners, so the two differ by little.
    assert pytest.approx(colormaps["jet"](levels)[:, :3], abs=0.15) == jet(levels).T
