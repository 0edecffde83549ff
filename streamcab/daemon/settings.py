"""What the daemon can be told of itself, and what of it cannot be right.

Knows nothing of files or options: `config.py` reads those, `cli/listen.py` hands them on.
"""

from dataclasses import dataclass
from math import ceil

from streamcab.errors import ConfigError
from streamcab.feed.curve import ServerKeys
from streamcab.ops.pseudonyms import Pseudonyms

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
    window_s: float = 30.0
    every_s: float = 0.1
    max_lag_s: float = 2.0
    max_streams: int = 64
    gate: bool | None = None
    attention: bool = True
    budget_ms: float = 250.0
    keys: ServerKeys | None = None
    ipc_group: str | None = None
    veil: Pseudonyms | None = None

    def __post_init__(self) -> None:
        for name in ("window_s", "every_s", "max_lag_s", "max_streams", "budget_ms"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name.removesuffix('_s')} is {getattr(self, name)}; it must be more than 0"
                )
        if self.max_lag_s < 2 * KEEP_S:
            raise ConfigError(f"max_lag is {self.max_lag_s}; it must be at least {2 * KEEP_S}")

    @property
    def visit_s(self) -> float:
        """Seconds between two visits to a stream: a whole part of `every_s`, well within the budget."""
        return self.every_s / ceil(self.every_s / (0.8 * self.budget_ms / 1000))
