"""The daemon's settings, and the checks of their values and combinations.

Ranges and defaults come from the tree in `streamcab.config`, except for values that users cannot set. Knows nothing of
files or options: `cli/listen.py` passes them on.
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
"""Seconds of audio that remain after a skip to the present."""


@dataclass(frozen=True)
class Settings:
    """The settings of one daemon. ConfigError for an invalid value.

    endpoint   where the feed is published               max_streams  streams answered at a time
    window_s   length of the averaging window, in seconds of stream time
    every_s    seconds between a stream's predictions
    max_lag_s  seconds of waiting audio beyond which a live stream skips to the present
    gate       None: as in the checkpoint                attention    whether predictions include it
    budget_ms  how long audio may wait for its turn, and how late a turn may be before new streams are refused
    keys       admit their holders only                  ipc_group    group that may use an ipc endpoint
    pseudonyms  hides the names of streams               voices       told apart on a stream; 1: none
    """

    endpoint: str
    window_s: float = DEFAULT.window
    every_s: float = DEFAULT.every
    max_lag_s: float = DEFAULT.max_lag
    max_streams: int = STREAMS
    gate: bool | None = None
    attention: bool = DEFAULT.attention
    voices: int = DEFAULT.voices
    budget_ms: float = 250.0
    keys: ServerKeys | None = None
    ipc_group: str | None = None
    pseudonyms: Pseudonyms | None = None

    def __post_init__(self) -> None:
        for name, one in settings_of(Answers).items():
            value = getattr(self, f"{name}_s" if one.unit == "s" else name)
            if one.range and not one.holds(value):
                raise ConfigError(f"{name} is {value}; it must be {one.range}")
        if not self.budget_ms > 0:
            raise ConfigError(f"budget_ms is {self.budget_ms}; it must be above 0")

    @property
    def visit_s(self) -> float:
        """Return the seconds between visits to a stream: `every_s` divided by an integer, well within the budget."""
        return self.every_s / ceil(self.every_s / (0.8 * self.budget_ms / 1000))
