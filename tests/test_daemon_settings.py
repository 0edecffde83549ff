"""What the daemon can be told: what cannot be right is refused by name, and visits fit both promises."""

import pytest

from streamcab.daemon.settings import Settings
from streamcab.errors import ConfigError


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"window_s": 0}, "window is 0; it must be 0.1 to 3600"),
        ({"every_s": -1}, "every is -1; "),
        ({"max_streams": 0}, "max_streams is 0; "),
        ({"budget_ms": 0}, "budget_ms is 0; "),
        ({"max_lag_s": 0.1}, "max_lag is 0.1; it must be 0.5 to 9"),
    ],
)
def test_what_cannot_be_right_is_refused(wrong, named):
    with pytest.raises(ConfigError, match=named):
        Settings("tcp://127.0.0.1:*", **wrong)


@pytest.mark.parametrize("every_s", [0.05, 0.1, 0.25, 1.0, 7.0])
@pytest.mark.parametrize("budget_ms", [20.0, 250.0, 3000.0])
def test_a_stream_is_visited_a_whole_number_of_times_between_answers_and_within_its_budget(
    every_s, budget_ms
):
    visit_s = Settings("tcp://127.0.0.1:*", every_s=every_s, budget_ms=budget_ms).visit_s
    assert every_s / visit_s == pytest.approx(round(every_s / visit_s))
    assert 0 < visit_s < budget_ms / 1000
