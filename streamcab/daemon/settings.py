"""What the daemon can be told of itself, and what of it cannot be right.

Ranges and defaults are those of the tree in `streamcab.config`, except for what users cannot set. Knows nothing of
files or options: `cli/listen.py` hands them on.
"""

from dataclasses import dataclass
from math import ceil

from streamcab.config.setting import settings_of
from streamcab.config.tree import STREAMS, Answers
from streamcab.errors import ConfigError
from streamcab.feed.curve import ServerKeys
from streamcab.ops.pseudonyms import Pseudonyms

DEFAULT = Answers()

KEEP_S = 0.2
"""What is left to be heard after a skip to live."""


@dataclass(frozen=True)
class Settings:
    """Of one daemon. ConfigError for a value that cannot be right.

    endpoint   where the feed is published               max_streams  streams answered at a time
    window_s   seconds of stream time that an answer rests on
    every_s    seconds between a stream's predictions
    max_lag_s  waiting audio beyond which a live stream skips to now
    gate       None: as the checkpoint says              attention    whether predictions carry it
    budget_ms  how long audio may wait for its turn, and how late a turn may be before newcomers are refused
    keys       whose holders alone are served            ipc_group    that shares an ipc endpoint
    veil       hides the names of streams
    """

    endpoint: str
    window_s: float = DEFAULT.window
    every_s: float = DEFAULT.every
    max_lag_s: float = DEFAULT.max_lag
    max_streams: int = STREAMS
    gate: bool | None = None
    attention: bool = DEFAULT.attention
    budget_ms: float = 250.0
    keys: ServerKeys | None = None
    ipc_group: str | None = None
    veil: Pseudonyms | None = None

    def __post_init__(self) -> None:
        for name, one in settings_of(Answers).items():
            value = getattr(self, f"{name}_s" if one.unit == "s" else name)
            if one.range and not one.holds(value):
                raise ConfigError(f"{name} is {value}; it must be {one.range}")
        if not self.budget_ms > 0:
            raise ConfigError(f"budget_ms is {self.budget_ms}; it must be above 0")

    @property
    def visit_s(self) -> float:
        """Seconds between two visits to a stream: a whole part of `every_s`, well within the budget."""
        return self.every_s / ceil(self.every_s / (0.8 * self.budget_ms / 1000))
