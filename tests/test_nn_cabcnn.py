"""CAB-CNN as specified: sizes, Keras' conventions, the mean over time, training in the same module."""

import math

import numpy as np
import pytest
import torch
from speech import naive_net, tiny_model

from streamcab.nn.cabcnn import Architecture, CabCnn, mean_of_votes
from streamcab.nn.geometry import StageShape

PAPER = Architecture(("au", "uk", "us"))


def test_three_classes_have_133856_trainable_parameters() -> None:
    assert sum(p.numel() for p in CabCnn(PAPER).parameters() if p.requires_grad) == 133_856


@pytest.mark.parametrize(("labels", "classifiers"), [(2, 40), (3, 40), (9, 40), (3, 7)])
def test_parameters_follow_the_architecture(labels: int, classifiers: int) -> None:
    stages = [(1, 16, 4), (16, 32, 4), (32, 32, 10), (32, 128, 10)]
    count = sum((i * k + 1) * o for i, o, k in stages) + 2 * 128
    count += classifiers * (129 * 8 + 9 * 4 + 5 * labels)
    count += 129 * 160 + 161 * 80 + 81 * classifiers
    model = CabCnn(Architecture(tuple("abcdefghi"[:labels]), classifiers=classifiers))
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("intervals", [1, 2, 5, 23])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_net_is_the_naive_net_of_the_specification(seed: int, intervals: int) -> None:
    model = tiny_model(seed)
    x = np.random.default_rng(seed).standard_normal(intervals * 100)
    with torch.inference_mode():
        c, alpha = model(torch.from_numpy(x).float()[None])
    c_naive, alpha_naive = naive_net(model, x)
    assert c_naive.std(0).max() > 0.02 or intervals < 3, "a model that answers always the same proves nothing"
    np.testing.assert_allclose(c[0].numpy(), c_naive, atol=1e-5, rtol=0)
    np.testing.assert_allclose(alpha[0].numpy(), alpha_naive, atol=1e-5, rtol=0)


def test_odd_kernels_and_other_strides_pad_as_keras_does() -> None:
    stages = (StageShape(3, 5, 3, 2, 0.0), StageShape(5, 6, 7, 5, 0.0))
    model = tiny_model(3, stages=stages, classifiers=4)
    x = np.random.default_rng(3).standard_normal(90)
    with torch.inference_mode():
        c, _ = model(torch.from_numpy(x).float()[None])
    np.testing.assert_allclose(c[0].numpy(), naive_net(model, x)[0], atol=1e-5, rtol=0)


def test_clips_of_a_batch_do_not_touch() -> None:
    model = tiny_model(0)
    x = torch.randn(3, 700, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together, _ = model(x)
        for b in range(3):
            alone, _ = model(x[b : b + 1])
            torch.testing.assert_close(together[b], alone[0], rtol=0, atol=1e-6)


def test_kernels_start_glorot_uniform_and_biases_zero() -> None:
    torch.manual_seed(0)
    model = CabCnn(PAPER)
    for stage in model.distiller.stages:
        filters, channels, kernel = stage.weight.shape
        _is_uniform(stage.weight, math.sqrt(6 / (kernel * (channels + filters))))
        assert not stage.bias.any()
    for layer in model.acb.attention:
        _is_uniform(layer.weight, math.sqrt(6 / sum(layer.weight.shape)))
        assert not layer.bias.any()
    for weight, bias in zip(model.acb.classifiers.weights, model.acb.classifiers.biases, strict=True):
        _is_uniform(weight, math.sqrt(6 / sum(weight.shape[1:])))
        assert not bias.any()
        assert not torch.equal(weight[0], weight[1])


def _is_uniform(weight: torch.Tensor, limit: float) -> None:
    """Every value within the limit, the limit reached, and the spread of a uniform distribution."""
    largest = weight.abs().max().item()
    assert 0.95 * limit < largest <= limit
    assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.15)
    assert abs(weight.mean().item()) < 0.2 * limit


def test_batchnorm_moves_its_statistics_by_a_hundredth() -> None:
    torch.manual_seed(0)
    model = CabCnn(PAPER).train()
    x = torch.randn(4, 1000)
    with torch.no_grad():
        for stage in model.distiller.stages:
            stage.dropout.p = 0.0
        y = x.unsqueeze(-1)
        for stage in model.distiller.stages:
            y = stage(y)
        model(x)
    mean, var = y.mean((0, 1)), y.var((0, 1))
    torch.testing.assert_close(model.distiller.norm.running_mean, 0.01 * mean)
    torch.testing.assert_close(model.distiller.norm.running_var, 0.99 + 0.01 * var)


def test_dropout_works_in_training_and_not_in_use() -> None:
    model = tiny_model(0)
    x = torch.randn(2, 800, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(model(x)[0], model(x)[0])
        model.train()
        assert not torch.equal(model(x)[0], model(x)[0])
        for stage, share in zip(model.distiller.stages, (0.15, 0.15, 0.10, 0.0), strict=True):
            ones = stage.dropout(torch.ones(100_000))
            assert (ones == 0).float().mean().item() == pytest.approx(share, abs=0.01)


def test_training_reaches_every_parameter_and_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model = CabCnn(PAPER).train()
    x = torch.randn(6, 1200)
    x[::3] *= 3
    x[1::3] = x[1::3].cumsum(1) / 10
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    voiced = torch.ones(6, 12)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        c, _ = model(x)
        loss = torch.nn.functional.nll_loss(mean_of_votes(c, voiced).log(), target)
        optimizer.zero_grad()
        loss.backward()
        if not losses:
            still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
            assert still == []
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.7 * losses[0]


def test_the_answer_is_the_mean_of_the_voiced_probabilities() -> None:
    c = torch.tensor([[[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]], [[0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]])
    voiced = torch.tensor([[1, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(mean_of_votes(c, voiced), torch.tensor([[0.5, 0.5], [0.4, 0.6]]))


def test_the_loss_is_the_log_of_the_mean_and_not_the_mean_of_logs() -> None:
    # One interval that is sure of the wrong label: mean of logs would be boundless.
    c = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    logs = mean_of_votes(c, torch.ones(1, 2)).log()
    assert logs[0, 1].item() == pytest.approx(math.log(0.25))


def test_a_clip_without_a_voiced_interval_says_nothing() -> None:
    c = torch.rand(2, 4, 3).softmax(-1)
    voiced = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]])
    out = mean_of_votes(c, voiced)
    torch.testing.assert_close(out[0], torch.full((3,), 1 / 3))
    torch.testing.assert_close(out[1], c[1, 1])


def test_the_answer_of_nothing_has_gradients_that_are_numbers() -> None:
    c = torch.rand(2, 4, 3).softmax(-1).requires_grad_()
    mean_of_votes(c, torch.zeros(2, 4)).log().sum().backward()
    assert torch.isfinite(c.grad).all()


def test_an_architecture_survives_its_dictionary() -> None:
    arch = Architecture(("a", "b"), rate=16000, stages=(StageShape(2, 3, 4, 2, 0.1),), extra={"seconds": 30})
    assert Architecture.from_dict(arch.to_dict()) == arch


def test_intervals_are_25_ms() -> None:
    assert PAPER.interval == 100
    assert PAPER.interval_s == 0.025


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"labels": ("a",)}, "labels"),
        ({"labels": ("a", "a")}, "labels"),
        ({"labels": ("a", "")}, "labels"),
        ({"normaliser": "loud"}, "normaliser"),
        ({"rate": 3999}, "3999"),
        ({"pooled_rate": 0}, "not 0"),
        ({"rate": -8000}, "-8000"),
        ({"rate": 8000.0}, "8000.0"),
        ({"classifiers": 0}, "not 0"),
        ({"hidden": (8, 0)}, "not 0"),
        ({"stages": ()}, "stages"),
        ({"stages": (StageShape(1, 1, 1, 2, 0.0),)}, "stride"),
        ({"stages": (StageShape(1, 1, 1, 0, 0.0),)}, "not 0"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(wrong: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Architecture(**({"labels": ("a", "b")} | wrong))
