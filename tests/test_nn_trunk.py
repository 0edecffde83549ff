"""The trunk: streamed in any steps it gives what the whole clip gives, and it hears no farther than it says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamcab.nn.cabcnn import Architecture
from streamcab.nn.geometry import BlockShape
from streamcab.nn.trunk import Block, Trunk

WIDTH, HIDDEN, BEFORE = 5, 7, 3
"""BEFORE: the delay of what the trunk is given."""


@st.composite
def shapes(draw: st.DrawFn) -> tuple[BlockShape, ...]:
    def shape() -> BlockShape:
        kernel = draw(st.integers(1, 5))
        return BlockShape(kernel, draw(st.integers(1, 4)), draw(st.integers(0, kernel - 1)))

    return tuple(shape() for _ in range(draw(st.integers(1, 4))))


def lively(blocks: tuple[BlockShape, ...], seed: int) -> Trunk:
    """Every bias is far from zero, so that padding put at the wrong place shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = Trunk(blocks, WIDTH, HIDDEN, BEFORE)
        with torch.no_grad():
            for p in trunk.parameters():
                if p.dim() == 1:
                    p.add_(torch.rand_like(p) - 0.5)
    return trunk.eval()


def drawn(seed: int, *size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def streamed(trunk: Trunk, a: Tensor, sizes: list[int]) -> Tensor:
    """a (B, T, WIDTH), as a distiller that lags by BEFORE would give it, in steps; flushed at the end."""
    b, t, _ = a.shape
    late = torch.cat((a.new_zeros(b, BEFORE, WIDTH), a, a.new_zeros(b, trunk.delay, WIDTH)), 1)
    state, out, at, turn = trunk.new_state(b), [], 0, 0
    end = torch.full((b,), t)
    while at < t + trunk.delay:
        h = min(sizes[turn % len(sizes)], t + trunk.delay - at)
        y, state = trunk.step(late[:, at : at + h], state, (torch.full((b,), at), end))
        out.append(y)
        at, turn = at + h, turn + 1
    return torch.cat(out, 1)[:, trunk.delay :]


@settings(deadline=None, max_examples=60)
@given(
    blocks=shapes(),
    length=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    seed=st.integers(0, 2**20),
)
def test_streamed_equals_whole(
    blocks: tuple[BlockShape, ...], length: int, sizes: list[int], seed: int
) -> None:
    trunk, a = lively(blocks, seed), drawn(seed, 2, length, WIDTH)
    with torch.inference_mode():
        whole = trunk(a)
    torch.testing.assert_close(streamed(trunk, a, sizes), whole, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(blocks=shapes(), seed=st.integers(0, 2**20))
def test_it_hears_as_far_as_the_architecture_says(blocks: tuple[BlockShape, ...], seed: int) -> None:
    plain = Architecture(("a", "b"))
    arch = Architecture(("a", "b"), trunk=blocks, trunk_hidden=HIDDEN)
    ahead = arch.delay - plain.delay
    assert ahead == sum(block.delay for block in blocks)
    context, trunk = arch.context - plain.context, lively(blocks, seed)
    a = drawn(seed, 2, 2 * context + 3, WIDTH)
    a[1, 1:-1] = a[0, 1:-1]
    with torch.inference_mode():
        first, second = trunk(a)[:, context + 1]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_a_block_hears_the_last_interval_that_it_may() -> None:
    block = Block(BlockShape(3, 4, 1), WIDTH, HIDDEN, 0).eval()
    a = drawn(0, 1, 30, WIDTH)
    with torch.inference_mode():
        before = block(a)
        a[:, 20] += 1
        changed = (block(a) != before).any(-1)[0].nonzero().flatten().tolist()
    # Where it is heard: as what lies ahead, as what is here, and as what was.
    assert changed == [16, 20, 24]


def test_mid_course_needs_no_edges() -> None:
    trunk, a = lively((BlockShape(3, 2, 1), BlockShape(5, 1, 0)), 1), drawn(1, 2, 40, WIDTH)
    with torch.inference_mode():
        state = trunk.new_state(2)
        _, state = trunk.step(a[:, :20], state, (torch.zeros(2, dtype=torch.long), torch.full((2,), 99)))
        plain, _ = trunk.step(a[:, 20:], state)
        edged, _ = trunk.step(a[:, 20:], state, (torch.full((2,), 20), torch.full((2,), 99)))
    torch.testing.assert_close(plain, edged, rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trunk": (BlockShape(0, 1, 0),), "trunk_hidden": 4},
        {"trunk": (BlockShape(3, 0, 0),), "trunk_hidden": 4},
        {"trunk": (BlockShape(3, 1, 3),), "trunk_hidden": 4},
        {"trunk": (BlockShape(3, 1, 1),)},
        {"trunk_hidden": 4},
    ],
)
def test_an_architecture_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"block|trunk_hidden"):
        Architecture(("a", "b"), **wrong)  # type: ignore[arg-type]


def test_a_trunk_travels_in_the_architecture_and_its_absence_says_nothing() -> None:
    arch = Architecture(("a", "b"), trunk=(BlockShape(3, 2, 1),), trunk_hidden=4)
    assert Architecture.from_dict(arch.to_dict()) == arch
    assert not {"trunk", "trunk_hidden"} & Architecture(("a", "b")).to_dict().keys()
