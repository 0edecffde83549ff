"""One channel out of many: what `--channel mix|each|left|right|N` means, the same for every source.

Knows nothing of devices, files or formats.
"""

from streamcab.errors import ConfigError

SIDES = {"left": 1, "right": 2}


def channel_number(channel: str, count: int) -> int | None:
    """Return which of `count` channels is meant, counted from 1; None for all, mixed or each by itself.

    Raises:
        ConfigError: `channel` is no channel, or the source lacks it.
    """
    if channel in ("mix", "each"):
        return None
    number = SIDES.get(channel) or (int(channel) if channel.isascii() and channel.isdigit() else 0)
    if number < 1:
        raise ConfigError(f"no such channel: {channel!r}; use mix, each, left, right or a number from 1")
    if number > count:
        has = "has only 1 channel" if count == 1 else f"has only {count} channels"
        raise ConfigError(
            f"channel {channel} is requested, and the source {has}; use mix or a number up to {count}"
        )
    return number
