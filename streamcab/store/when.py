"""Days and times as people write them, as Unix seconds in a time zone. Knows nothing of calls."""

import re
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streamcab.errors import ConfigError

_AGO = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def zone_of(name: str | None) -> tzinfo | None:
    """Return a time zone by name; None is this machine's. ConfigError: there is none of that name."""
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{name!r} is no time zone; write UTC, Europe/Berlin, ...") from None


def moment(text: str, zone: tzinfo | None, now: float) -> float:
    """Return the time of `2026-11-30`, `2026-11-30T14:00`, or of so long ago: `7d`, `12h`, `30m`, `2w`."""
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text):
        return now - float(ago[1]) * _AGO[ago[2]]
    try:
        return _in(datetime.fromisoformat(text), zone).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(f"{text!r} is no time; write 2026-11-30, 2026-11-30T14:00, or 7d") from None


def day(text: str, zone: tzinfo | None) -> tuple[float, float]:
    """Return when a day begins and ends: it may have 23 or 25 hours."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ConfigError(f"{text!r} is no day; write 2026-11-30")
    try:
        first = datetime.fromisoformat(text)
        return _in(first, zone).timestamp(), _in(first + timedelta(days=1), zone).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(f"{text!r} is no day; write 2026-11-30") from None


def shown(unix: float | None, zone: tzinfo | None, *, seconds: bool = True) -> str:
    """Return a time for people."""
    if unix is None:
        return "-"
    return datetime.fromtimestamp(unix, zone).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def _in(time: datetime, zone: tzinfo | None) -> datetime:
    return time.replace(tzinfo=zone) if time.tzinfo is None and zone is not None else time
