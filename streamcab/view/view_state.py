"""The user's choices in the view: page, stream, sort order, filter. Changed by key names only.

Owns `ViewState` and `sort`. Knows no terminal: keys come as words (`up`, `enter`, `q`), see keyboard.py.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from streamcab.view.board import Board, Stream

Page = Literal["one", "fleet"]

SORTS: dict[str, Callable[[Stream], Any]] = {
    "newest": lambda s: (-s.born, -s.number),
    "least certain": lambda s: (s.top is None, s.confidence),
    "loss": lambda s: (-s.lost_ms, -s.overflows),
    "lag": lambda s: -s.lag_ms,
    "name": lambda s: 0,
}


@dataclass
class ViewState:
    """The user's picks; `page` None: one stream is shown large, several as a fleet."""

    page: Page | None = None
    selected: str | None = None
    sorting: str = "newest"
    filter: str = ""
    typing: bool = False
    help: bool = False
    per_page: int = 10  # rows that the last picture had, for the keys that jump

    def shown(self, board: Board) -> Page:
        """Return the page to draw now."""
        return self.page or ("one" if len(board.streams) <= 1 else "fleet")

    def stream(self, names: Sequence[str]) -> str | None:
        """Return the stream that the one-stream page shows: the selected one, else the first."""
        return self.selected if self.selected in names else next(iter(names), None)

    def key(self, key: str, names: Sequence[str], page: Page) -> bool:
        """Take a key, given the streams in their order and the page they see; whether to go on."""
        if self.typing:
            self._type(key)
        elif self.help:
            self.help = False
        elif key == "q":
            return False
        elif key == "?":
            self.help = True
        elif key in _STEPS and names:
            self._step(key, names)
        elif page == "one" and key in ("escape", "backspace", "left"):
            self.page = "fleet"
        elif page == "fleet":
            self._fleet_key(key, names)
        return True

    def _fleet_key(self, key: str, names: Sequence[str]) -> None:
        if key in ("enter", "right") and names:
            self.selected, self.page = self.stream(names), "one"
        elif key in ("s", "S"):
            order = list(SORTS)
            self.sorting = order[(order.index(self.sorting) + (1 if key == "s" else -1)) % len(order)]
            self.selected = None
        elif key == "/":
            self.typing = True
        elif key == "escape":
            self.selected, self.filter = None, ""

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.typing = False
            self.filter = "" if key == "escape" else self.filter
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and len(self.filter) < 64:
            self.filter += key
        self.selected = None

    def _step(self, key: str, names: Sequence[str]) -> None:
        at = names.index(self.selected) if self.selected in names else 0
        at += _STEPS[key] * (self.per_page if "page" in key else 1)
        at = {"home": 0, "end": len(names) - 1}.get(key, at)
        self.selected = names[min(max(at, 0), len(names) - 1)]


_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -1, "page down": 1, "home": 0, "end": 0}


def sort(board: Board, view_state: ViewState) -> list[str]:
    """Return the names of the streams that pass the filter, in the chosen order; those that have ended come last."""
    needle = view_state.filter.lower()
    streams = [s for s in board.streams.values() if needle in s.name.lower()]
    if view_state.sorting != "newest":
        streams.sort(key=lambda s: natural(s.name))
    streams.sort(key=SORTS[view_state.sorting])
    streams.sort(key=lambda s: s.ended is not None)
    return [s.name for s in streams]


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that puts call 9 before call 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]
