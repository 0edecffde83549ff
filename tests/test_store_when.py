"""Days and times as people write them."""

from zoneinfo import ZoneInfo

import pytest

from streamcab.errors import ConfigError
from streamcab.store.when import day, moment, shown, zone_of

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "ago"), [("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("1.5w", 907_200)]
)
def test_so_long_ago(text: str, ago: float) -> None:
    assert moment(text, None, 2e9) == 2e9 - ago


def test_a_time_is_that_of_the_zone_unless_it_has_its_own() -> None:
    utc = ZoneInfo("UTC")
    assert moment("2026-11-30T14:00", utc, 0) - moment("2026-11-30T14:00", BERLIN, 0) == 3600
    assert moment("2026-11-30T14:00+00:00", BERLIN, 0) == moment("2026-11-30T14:00", utc, 0)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("2026-03-29", 23), ("2026-11-30", 24), ("2026-10-25", 25)],
    ids=["spring", "any", "autumn"],
)
def test_a_day_is_as_long_as_it_is(text: str, hours: int) -> None:
    first, end = day(text, BERLIN)
    assert end - first == hours * 3600
    assert shown(first, BERLIN) == f"{text} 00:00:00"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "7y", "30.11.2026"])
def test_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        moment(text, None, 0)


@pytest.mark.parametrize("text", ["", "2026-11-31", "20261130", "2026-11-30T14:00"])
def test_no_day(text: str) -> None:
    with pytest.raises(ConfigError, match="is no day"):
        day(text, None)


def test_a_zone_by_name() -> None:
    assert zone_of(None) is None
    assert zone_of("Europe/Berlin") == BERLIN
    with pytest.raises(ConfigError, match="is no time zone"):
        zone_of("../etc/passwd")
