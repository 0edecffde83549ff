"""The distiller: Table 2, what an a_t can see, and that a stream hears what a whole clip hears."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speech import SMALL_STAGES

from streamcab.nn.cabcnn import Architecture
from streamcab.nn.distiller import FOREVER, Distiller, Stage
from streamcab.nn.geometry import PAPER_STAGES, StageShape, geometry

TABLE_2 = [
    # filters, kernel, pooling, stride, dropout
    (16, 4, 4, 2, 0.15),
    (32, 4, 4, 2, 0.15),
    (32, 10, 10, 5, 0.10),
    (128, 10, 10, 5, 0.0),
]
CHANNELS = [1, 16, 32, 32]


def lively(stages: tuple[StageShape, ...], seed: int) -> Distiller:
    """Biases and statistics that are far from zero and one: padding at the wrong place shows."""
    draw = torch.Generator().manual_seed(seed)
    distiller = Distiller(stages).eval()
    with torch.no_grad():
        for p in (*distiller.parameters(), distiller.norm.running_mean):
            p.copy_(torch.randn(p.shape, generator=draw) * 0.5)
        distiller.norm.running_var.copy_(torch.rand(distiller.norm.running_var.shape, generator=draw) + 0.5)
    return distiller


def streamed(distiller: Distiller, x: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """a (B, K, filters) of clips x (B, K * interval), `sizes` intervals at a time, flushed at the end."""
    batch, k, delay = len(x), x.shape[1] // distiller.interval, distiller.delay
    flush = torch.zeros(batch, delay * distiller.interval)
    state, kernels = distiller.new_state(batch), distiller.kernels()
    out, at, turn = [], 0, 0
    with torch.inference_mode():
        while at < k + delay:
            h = min(sizes[turn % len(sizes)], k + delay - at)
            piece = torch.cat((x, flush), 1)[:, at * distiller.interval : (at + h) * distiller.interval]
            edges = torch.full((batch,), at), torch.full((batch,), k)
            a, state = distiller.step(piece, state, kernels, edges)
            out.append(a)
            at, turn = at + h, turn + 1
    return torch.cat(out, 1)[:, delay:]


def test_stages_are_those_of_table_2() -> None:
    distiller = Distiller(PAPER_STAGES)
    assert distiller.interval == 100
    for stage, channels, row in zip(distiller.stages, CHANNELS, TABLE_2, strict=True):
        filters, kernel, pool, stride, dropout = row
        assert stage.weight.shape == (filters, channels, kernel)
        assert stage.bias.shape == (filters,)
        assert (stage.shape.pool, stage.shape.stride) == (pool, stride)
        assert stage.dropout.p == dropout
    assert (distiller.norm.num_features, distiller.norm.eps, distiller.norm.momentum) == (128, 1e-3, 0.01)


def test_output_shapes_are_those_of_table_2() -> None:
    y = torch.zeros(2, 1200, 1)
    for stage, length, filters in zip(
        Distiller(PAPER_STAGES).stages, (600, 300, 60, 12), (16, 32, 32, 128), strict=True
    ):
        y = stage(y)
        assert y.shape == (2, length, filters)


def test_padding_is_that_of_keras() -> None:
    pads = [(s.conv_pad, s.pool_pad) for s in Distiller(PAPER_STAGES).stages]
    assert pads == [((1, 2), (1, 1)), ((1, 2), (1, 1)), ((4, 5), (2, 3)), ((4, 5), (2, 3))]


def test_an_interval_sees_451_pooled_samples_201_of_them_beyond_its_own() -> None:
    distiller = Distiller(PAPER_STAGES).eval()
    with torch.no_grad():
        for stage in distiller.stages:
            stage.weight.fill_(1 / stage.weight[0].numel())
    flat = torch.ones(1, 1200)
    bumps = flat.repeat(1200, 1) + 5 * torch.eye(1200)
    with torch.inference_mode():
        before = distiller(flat)[0, 6]
        after = torch.cat([distiller(part)[:, 6] for part in bumps.split(200)])
    seen = torch.nonzero((after > before + 1e-4).all(1)).flatten()
    assert (seen.min().item(), seen.max().item(), len(seen)) == (600 - 150, 600 + 300, 451)
    assert seen.max().item() - 699 == 201


def test_the_delay_covers_the_look_ahead_and_no_interval_more() -> None:
    # 201 samples of 100: two intervals do not hold them, three do.
    assert Distiller(PAPER_STAGES).delay == 3


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**20),
    intervals=st.integers(1, 14),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
def test_streamed_equals_whole_for_any_cut(seed: int, intervals: int, sizes: list[int]) -> None:
    distiller = lively(SMALL_STAGES, seed)
    x = torch.randn(2, intervals * 100, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        whole = distiller(x)
    torch.testing.assert_close(streamed(distiller, x, sizes), whole, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    shapes=st.lists(
        st.tuples(st.integers(1, 11), st.integers(1, 6), st.integers(0, 7)), min_size=1, max_size=4
    ),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_streamed_equals_whole_for_any_kernels_and_strides(
    seed: int, shapes: list[tuple[int, int, int]], sizes: list[int]
) -> None:
    stages = tuple(StageShape(3, kernel, stride + more, stride, 0.0) for kernel, stride, more in shapes)
    distiller = lively(stages, seed)
    intervals = 3 + 2 * distiller.delay
    x = torch.randn(1, intervals * distiller.interval, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        whole = distiller(x)
    scale = max(1.0, float(whole.abs().max()))
    torch.testing.assert_close(streamed(distiller, x, sizes), whole, rtol=0, atol=1e-5 * scale)


SHAPES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6), st.integers(0, 7)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**20), shapes=SHAPES)
def test_beyond_its_reach_nothing_touches_an_interval(seed: int, shapes: list[tuple[int, int, int]]) -> None:
    stages = tuple(StageShape(3, kernel, stride + more, stride, 0.0) for kernel, stride, more in shapes)
    found, distiller = geometry(stages), lively(stages, seed)
    assert (found.interval, found.delay, found.reach) == (
        distiller.interval,
        distiller.delay,
        distiller.reach,
    )
    middle, inside = found.reach + 1, slice(found.interval, -found.interval)
    x = torch.randn(2, (2 * middle + 1) * found.interval, generator=torch.Generator().manual_seed(seed))
    x[1, inside] = x[0, inside]
    with torch.inference_mode():
        a, b = distiller(x)[:, middle]
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**20), shapes=SHAPES)
def test_delay_and_reach_after_a_stream_its_state_knows_of_it_no_more(
    seed: int, shapes: list[tuple[int, int, int]]
) -> None:
    stages = tuple(StageShape(3, kernel, stride + more, stride, 0.0) for kernel, stride, more in shapes)
    architecture = Architecture(("a", "b"), stages=stages)
    assert architecture.memory == architecture.delay + architecture.context
    distiller, n = lively(stages, seed), max(architecture.memory, 1) * architecture.interval
    past = torch.randn(2, n, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        kernels = distiller.kernels()
        _, state = distiller.step(past, distiller.new_state(2), kernels)
        _, state = distiller.step(torch.zeros(2, n), state, kernels)
    for stage in state:
        for a, b in (stage.conv, stage.pool):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_stream_in_mid_course_needs_no_edges() -> None:
    distiller = lively(SMALL_STAGES, 5)
    x = torch.randn(2, 1000, generator=torch.Generator().manual_seed(5))
    kernels, state = distiller.kernels(), distiller.new_state(2)
    with torch.inference_mode():
        first = torch.zeros(2, dtype=torch.int64), torch.full((2,), FOREVER)
        _, state = distiller.step(x[:, :500], state, kernels, first)
        with_edges, _ = distiller.step(x[:, 500:], state, kernels, (first[0] + 5, first[1]))
        without, _ = distiller.step(x[:, 500:], state, kernels)
    torch.testing.assert_close(with_edges, without, rtol=0, atol=0)


def test_streams_at_different_places_share_a_step() -> None:
    distiller = lively(SMALL_STAGES, 6)
    a, b = torch.randn(2, 900, generator=torch.Generator().manual_seed(6))
    kernels, state = distiller.kernels(), distiller.new_state(1)
    with torch.inference_mode():
        alone_a = distiller(a[None])[0]
        alone_b = distiller(b[None, :400])[0]
        _, after = distiller.step(a[None, :500], state, kernels, (torch.tensor([0]), torch.tensor([FOREVER])))
        fresh = distiller.new_state(1)
        for old, new in zip(after, fresh, strict=True):
            old.conv, old.pool = torch.cat((old.conv, new.conv)), torch.cat((old.pool, new.pool))
        both = torch.stack((a[500:], b[:400]))
        edges = torch.tensor([5, 0]), torch.tensor([FOREVER, FOREVER])
        out, _ = distiller.step(both, after, kernels, edges)
    delay = distiller.delay
    torch.testing.assert_close(out[0], alone_a[5 - delay : 9 - delay], rtol=0, atol=1e-5)
    torch.testing.assert_close(out[1, delay:], alone_b[: 4 - delay], rtol=0, atol=1e-5)


def test_state_has_the_promised_size() -> None:
    for stage in Distiller(PAPER_STAGES).stages:
        state = stage.new_state(3)
        assert state.conv.shape == (3, stage.conv_context, stage.weight.shape[1])
        assert state.pool.shape == (3, stage.pool_context, stage.shape.filters)
        assert (state.conv == 0).all()
        assert (state.pool == -torch.inf).all()


def test_a_stride_that_does_not_divide_the_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        Stage(StageShape(1, 1, 3, 3, 0.0), channels=1, delay=0, unit=100)
