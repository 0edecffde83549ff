"""Counts that follow from the shapes of layers; that no sample beyond the reach matters is in test_nn_distiller.py."""

import pytest

from streamcab.nn.geometry import PAPER_STAGES, BlockShape, StageShape, StageTiming, geometry, timings


def test_the_papers_stages_make_an_interval_of_25_ms_at_4_khz() -> None:
    assert geometry(PAPER_STAGES).interval == 100


def test_timings_go_from_stage_to_stage_and_end_at_the_geometry() -> None:
    found = timings(PAPER_STAGES)
    assert [(t.unit, t.out_unit) for t in found] == [(100, 50), (50, 25), (25, 5), (5, 1)]
    assert found[-1].delay == geometry(PAPER_STAGES).delay


@pytest.mark.parametrize("kernel", [1, 4, 9])
def test_padding_keeps_the_length(kernel: int) -> None:
    shape = StageShape(2, kernel, 6, 2, 0.0)
    assert sum(shape.conv_pad) == kernel - 1
    assert sum(shape.pool_pad) == 6 - 2


def test_a_stride_that_does_not_divide_the_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="a stride of 3 does not divide 100 samples"):
        StageTiming.of(StageShape(2, 4, 4, 3, 0.0), 0, 100)


def test_a_block_keeps_what_its_taps_span_and_lags_by_what_lies_ahead() -> None:
    block = BlockShape(5, 8, 2)
    assert (block.context, block.delay) == (32, 16)
