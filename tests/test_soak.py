"""The rehearsal of a day: short here, whole in the slow tests; and that it notices what it is there to notice."""

import json
import os
from itertools import pairwise

import numpy as np
import pytest
from backends import Around
from serving import run, save_model
from speech import SMALL_STAGES, tiny_model

from streamcab.errors import ConfigError
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.soak.clock import RehearsalClock, Weight
from streamcab.soak.pool import rehearse_pool
from streamcab.soak.programme import SHORTEST_S, TICK_S, plan
from streamcab.soak.rehearsal import rehearse
from streamcab.soak.report import Report, text

PERIOD_S = 120
HOURS = 4.1 * PERIOD_S / 3600


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}, "0123456789ab")


class Ageing(Around):
    """A backend that does something to itself, or to its answers, at each step."""

    def __init__(self, checkpoint, slots, ages=lambda step, c: c):
        super().__init__(TorchBackend(checkpoint.model, slots))
        self._ages, self._steps = ages, 0

    def start(self, *args):
        self._steps += 1
        c, alpha, u = self.inside.step(*args)
        answer = self._ages(self._steps, c), alpha, u
        return lambda: answer


def rehearsed(checkpoint, ages=lambda step, c: c, most_growth_mb=1000.0):
    return rehearse(
        checkpoint,
        lambda slots: Ageing(checkpoint, slots, ages),
        hours=HOURS,
        calls=2,
        period_s=PERIOD_S,
        most_growth_mb=most_growth_mb,
        say=lambda line: None,
    )


def test_a_short_rehearsal_ends_well(checkpoint):
    report = rehearsed(checkpoint)
    assert report.failures == []
    assert report.calls >= 8
    assert report.compared > 20
    assert report.difference < 1e-6
    assert report.missed == 0
    assert len(report.weights) == 16
    assert text(report).endswith("\nwell")
    # As much was heard as was said, but for what the programme loses.
    assert report.lost_ms < 0.05 * report.audio_hours * 3_600_000


def test_a_rehearsal_of_workers_ends_well_though_one_is_killed(checkpoint, tmp_path):
    options = {"model": save_model(checkpoint, tmp_path), "backend": "torch"}
    how = {"hours": HOURS, "period_s": PERIOD_S, "most_growth_mb": 1000.0, "say": print}
    report = rehearse_pool(options, workers=2, calls=2, **how)
    assert report.failures == []
    assert report.compared == report.calls / 4
    assert report.difference < 1e-6
    assert len(report.weights) == 16
    with pytest.raises(ConfigError, match="without any"):
        rehearse_pool(options, workers=2, calls=1, **how)


def test_answers_that_drift_and_what_leaks_are_noticed(checkpoint):
    kept = []

    def ages(step, c):
        if step % 50 == 0:
            kept.append((os.open(os.devnull, os.O_RDONLY), np.ones(1 << 18)))
        return c * np.float32(1 - 1e-5 * step) + np.float32(1e-5 * step / c.shape[-1])

    try:
        report = rehearsed(checkpoint, ages, most_growth_mb=1.0)
    finally:
        for descriptor, _ in kept:
            os.close(descriptor)
    assert report.difference > 1e-5
    for what in ("answers changed", "descriptors grow", "memory grows"):
        assert any(what in failure for failure in report.failures), what
    assert text(report).endswith("NOT WELL")


def test_the_programme_is_the_same_in_each_period_and_ends_within_it():
    calls = plan(3, 600)
    assert calls == plan(3, 600)
    for place in range(3):
        mine = [call for call in calls if call.place == place]
        assert len(mine) > 4
        assert all(b.first > a.first + a.ticks for a, b in pairwise(mine))
        assert (mine[-1].first + mine[-1].ticks) * TICK_S < 600
    assert all(call.ticks * TICK_S >= SHORTEST_S for call in calls)


def test_the_clock_passes_only_when_somebody_waits():
    due = []
    clock = RehearsalClock(lambda number, now: due.append((number, now)))
    zero = clock.monotonic()
    assert clock.monotonic() == zero
    clock.sleep(10 * TICK_S)
    assert [number for number, _ in due] == list(range(10))
    assert clock.monotonic() - zero == pytest.approx(10 * TICK_S)
    assert due[-1][1] - zero == pytest.approx(10 * TICK_S)


def test_a_slope_is_of_what_has_settled():
    report = Report(9, 9, 1, 0, 0, 0, 0, 0, 1, 0, [], 8, 3600)
    report.weights = [Weight(h, 100 if h < 2 else 200 + 3 * h, 10, 2) for h in range(9)]
    assert report.slope("rss_mb") == pytest.approx(3)
    assert report.slope("threads") == pytest.approx(0)


def test_what_cannot_be_compared_is_refused(checkpoint):
    settings = {"calls": 1, "most_growth_mb": 8, "say": print}
    with pytest.raises(ConfigError, match="4 at least"):
        rehearse(checkpoint, lambda n: None, hours=1, period_s=1200, **settings)
    with pytest.raises(ConfigError, match="multiple of 120"):
        rehearse(checkpoint, lambda n: None, hours=1, period_s=130, **settings)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_whole_day():
    done = run("soak", "--hours", "24", "--json", timeout=5400)
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["failures"]
    assert report["hours"] >= 24
    assert report["audio_hours"] > 72
