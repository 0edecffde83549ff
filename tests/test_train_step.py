"""A step in pieces is the step in one go; the loss is the log of the mean."""

import pytest
import torch
import torch.nn.functional as F
from streamcab_train import step
from streamcab_train.step import backward, forward, loss_of
from torch import Tensor

from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab.nn.geometry import PAPER_STAGES, StageShape

NO_DROPOUT = tuple(StageShape(s.filters, s.kernel, s.pool, s.stride, 0.0) for s in PAPER_STAGES)


def net(dropout: bool = False) -> CabCnn:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return CabCnn(Architecture(("a", "b", "c"), stages=PAPER_STAGES if dropout else NO_DROPOUT)).train()


def batch(clips: int = 6, intervals: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(clips, intervals * 100, generator=g)
    votes = torch.rand(clips, intervals, generator=g) > 0.4
    return x, votes, torch.randint(3, (clips,), generator=g)


def gradients(model: CabCnn) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_pieces_give_the_answers_and_the_batch_statistics_of_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "PIECE_S", 0.6)
    x, _, _ = batch()
    whole, cut = net(), net()
    want, _ = whole(x)
    torch.testing.assert_close(forward(cut, x), want, rtol=0, atol=1e-6)
    for name, value in whole.named_buffers():
        torch.testing.assert_close(dict(cut.named_buffers())[name], value)


@pytest.mark.parametrize("keep_s", [1000.0, 0.0])
def test_pieces_give_the_gradients_of_one_go(monkeypatch: pytest.MonkeyPatch, keep_s: float) -> None:
    whole, cut = net(), net()
    backward(whole, *batch(), 0.1)
    monkeypatch.setattr(step, "PIECE_S", 0.6)
    monkeypatch.setattr(step, "KEEP_S", keep_s)
    backward(cut, *batch(), 0.1)
    for got, want in zip(gradients(cut), gradients(whole), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


def test_computing_activations_twice_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for keep_s in (1000.0, 0.0):
        monkeypatch.setattr(step, "PIECE_S", 0.6)
        monkeypatch.setattr(step, "KEEP_S", keep_s)
        model = net(dropout=True)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            loss = backward(model, *batch(), 0.0)
        found.append((loss, gradients(model)))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_in_bf16_a_step_goes_nearly_the_same_way() -> None:
    found = []
    for bf16 in (False, True):
        model = net()
        loss = backward(model, *batch(), 0.0, bf16=bf16)
        grads = torch.cat([g.flatten() for g in gradients(model)])
        assert grads.dtype == torch.float32
        assert all(p.dtype == torch.float32 for p in model.parameters())
        found.append((loss, grads))
    assert 0 < abs(found[0][0] - found[1][0]) < 5e-3
    assert torch.cosine_similarity(found[0][1], found[1][1], 0) > 0.95


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_cross_entropy_of_the_mean_probability(smoothing: float) -> None:
    p = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])
    y = torch.tensor([1, 2])
    want = F.cross_entropy(p.log(), y, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(loss_of(p, y, smoothing), want)


def test_a_clip_that_nobody_votes_in_costs_what_a_guess_costs_and_moves_nothing() -> None:
    model = net()
    x, votes, y = batch(clips=2)
    loss = backward(model, x, torch.zeros_like(votes), y, 0.0)
    assert loss == pytest.approx(torch.tensor(3.0).log().item())
    assert all(g.abs().max() == 0 for g in gradients(model))


def test_a_probability_of_zero_costs_much_but_not_infinity() -> None:
    loss = loss_of(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert torch.isfinite(loss).all()
    assert loss.item() > 10
