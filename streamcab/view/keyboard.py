"""Keys of a terminal: from bytes to words, and the page that lists them. Knows no settings and no stream."""

import re

from streamcab.view.frame import Frame, Row
from streamcab.view.palette import BOLD, QUIET

HINT = "? keys  q quit"
HELP = (
    ("up down, k j", "choose a stream"),
    ("Page Up, Page Down", "a page at a time"),
    ("Enter", "open the chosen stream"),
    ("Esc, Backspace", "back to all streams"),
    ("s, S", "sort: newest, least certain, loss, lag, name"),
    ("/", "filter by name; Enter keeps it, Esc drops it"),
    ("?", "these keys"),
    ("q, Ctrl-C", "quit"),
)

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])|\x1b|[^\x1b]")
_NAMES = {
    b"\x1b": "escape", b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[C": "right", b"\x1bOC": "right", b"\x1b[D": "left", b"\x1bOD": "left", b"\x1b[5~": "page up",
    b"\x1b[6~": "page down", b"\x1b[H": "home", b"\x1bOH": "home", b"\x1b[1~": "home", b"\x1b[F": "end",
    b"\x1bOF": "end", b"\x1b[4~": "end", b"\r": "enter", b"\n": "enter", b"\x7f": "backspace",
    b"\x08": "backspace",
}  # fmt: skip


def decode(data: bytes) -> list[str]:
    """Return the keys in a terminal's input; sequences and characters without a meaning here are left out."""
    keys = []
    for match in _SEQUENCE.finditer(data):
        piece = match.group()
        name = _NAMES.get(piece) or (piece.decode() if len(piece) == 1 and 32 <= piece[0] < 127 else None)
        if name is not None:
            keys.append(name)
    return keys


def render_keys(size: tuple[int, int]) -> Frame:
    """Draw the list of keys in the middle of a picture."""
    width, height = max(size[0], 1), max(size[1], 1)
    wide = 18 if width >= 66 else 12
    left = max((width - wide - 46) // 2, 1)
    lines = [Row(width).to(left).put("Keys", BOLD), Row(width)]
    for key, what in HELP:
        lines.append(
            Row(width).to(left).left(key, wide, BOLD).put("  ").left(what, max(width - left - wide - 3, 0))
        )
    legend = "Bars are means over the window; the tick on one is the last second."
    lines += [Row(width), Row(width).to(left).left(legend, max(width - left - 1, 0), QUIET)]
    lines += [Row(width), Row(width).to(left).put("any key goes back", QUIET)]
    above = max((height - len(lines)) // 2, 0)
    rows = [*(Row(width) for _ in range(above)), *lines, *(Row(width) for _ in range(height))]
    return Frame(width, [row.done() for row in rows[:height]])
