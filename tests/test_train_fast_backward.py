"""Stages as training runs them are the distiller's; dropout drops what it should."""

import pytest
import torch
from streamcab_train.fast_backward import dropout, run_stages
from streamcab_train.recipe_keys import STAGES

from streamcab.nn.distiller import Distiller
from streamcab.nn.geometry import StageShape

NAMES = sorted(STAGES)


def distiller(name: str) -> Distiller:
    """Its stages without dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Distiller(
            [StageShape(s.filters, s.kernel, s.pool, s.stride, 0.0) for s in STAGES[name]]
        ).train()


@pytest.mark.parametrize("name", NAMES)
def test_forward_is_the_distillers_to_the_bit_and_backward_to_rounding(name: str) -> None:
    net = distiller(name)
    x = torch.randn(3, 8 * net.interval, generator=torch.Generator().manual_seed(2))
    want = x.unsqueeze(-1)
    for stage in net.stages:
        want = stage(want)
    got = run_stages(net, x)
    assert torch.equal(got, want)
    down = torch.randn(want.shape, generator=torch.Generator().manual_seed(3))
    wanted = torch.autograd.grad(want, list(net.stages.parameters()), down)
    found = torch.autograd.grad(got, list(net.stages.parameters()), down)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        y = dropout(torch.ones(401, 997), 0.15)
    share = (y == 0).double().mean().item()
    # Five deviations of 400 thousand draws.
    assert share == pytest.approx(0.15, abs=5 * (0.15 * 0.85 / y.numel()) ** 0.5)
    assert y[y > 0].unique().tolist() == pytest.approx([1 / 0.85], rel=1e-4)
    # One after the other knows nothing of the one before.
    gone = (y == 0).double().flatten() - share
    assert abs((gone[1:] * gone[:-1]).mean().item()) < 5 * 0.15 * 0.85 / y.numel() ** 0.5


def test_dropout_is_the_generators() -> None:
    drawn = []
    for seed in (5, 5, 6):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            drawn.append(dropout(torch.ones(3, 7), 0.5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_nothing_is_dropped_from_who_is_judged() -> None:
    net = Distiller(STAGES["paper"]).eval()
    x = torch.randn(1, 500)
    assert torch.equal(run_stages(net, x), run_stages(net, x))
