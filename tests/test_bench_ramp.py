"""The ramp: what its figures say of a load that rises and falls, and a small one for real."""

import json

import pytest

from streamcab.bench.calls import Serving
from streamcab.bench.ramp import Level, Ramp, measure, text
from streamcab.bench.traffic import Traffic


def ramp(*goodputs: float) -> Ramp:
    levels = [Level(100, 100.0, goodput, 200.0, waiting=False, resting=False) for goodput in goodputs]
    return Ramp(levels, 0.0, 100, 0, 1.0, None)


@pytest.mark.parametrize(
    ("goodputs", "least"), [((50, 100, 90, 95, 50), 0.9), ((50, 80, 100, 50), 1.0), ((50, 100, 0, 50), 0.0)]
)
def test_the_least_goodput_is_that_beyond_the_peak_while_the_load_rises(goodputs, least):
    assert ramp(*goodputs).least == pytest.approx(least)


def test_a_small_ramp_is_told_level_by_level():
    found = measure(Traffic(2, 6.0), Serving(budget_ms=60_000, options=["--max-lag", "9"]), shares=(1, 2, 1))
    assert [level.offered for level in found.levels] == [2, 4, 2]
    assert found.calls == 4
    assert found.refused == 0
    assert all(level.goodput > 0 for level in found.levels)
    assert found.levels[1].goodput > found.levels[0].goodput
    assert found.back_s >= 0
    assert "| 4 | " in text(found)
    assert json.loads(json.dumps(found.as_dict()))["levels"][2]["offered"] == 2
