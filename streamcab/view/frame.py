"""Pieces of a picture: rows of exact width, bars, meters, strips of blocks.

Owns `Row` and `Frame`, a rich renderable exactly as wide and high as was asked for. Text from the feed is
sanitised here: control and direction characters never reach the terminal. Knows nothing of streams.
"""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from streamcab.view.palette import FAINT, PLAIN, QUIET, TRACK

EIGHTHS = " ▏▎▍▌▋▊▉"
HEIGHTS = " ▁▂▃▄▅▆▇█"
_PAIRS = '█# ▉# ▊# ▋# ▌| ▍| ▎| ▏| ▁_ ▂. ▃- ▄= ▅+ ▆* ▇# ▀" ─- ━= ╸= │| ●* ◌o ○o ×x ■# ▸> ·. …~'  # noqa: RUF001
ASCII = {ord(pair[0]): pair[1] for pair in _PAIRS.split()}
"""The nearest signs of a console that has no others."""


def clean(text: str) -> str:
    """Return `text` without characters that could control a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "·" for c in text)


def fit(text: str, width: int) -> str:
    """Return `text` in at most `width` cells, with an ellipsis where it was cut."""
    text = clean(text)
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 1 else "…"[:width]


def fit_name(name: str, width: int) -> str:
    """Fit a stream's name, which is ASCII, into `width` cells, cut in its middle: calls differ at their ends."""
    name = clean(name)
    if cell_len(name) <= width or width < 7:
        return fit(name, width)
    tail = (width - 1) // 2
    return set_cell_size(name, width - tail - 1).rstrip() + "…" + name[-tail:]


class Row:
    """One line of a picture, written from left to right and never wider than `width`."""

    __slots__ = ("segments", "used", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.used = 0
        self.segments: list[Segment] = []

    def put(self, text: str, style: Style = PLAIN) -> "Row":
        """Write text as it is; it must be harmless."""
        cells = cell_len(text)
        room = self.width - self.used
        if cells > room:
            text, cells = set_cell_size(text, max(room, 0)), max(room, 0)
        if cells:
            self.segments.append(Segment(text, style))
            self.used += cells
        return self

    def left(self, text: str, width: int, style: Style = PLAIN) -> "Row":
        """Write any text, fitted into `width` cells."""
        text = fit(text, width)
        return self.put(text + " " * (width - cell_len(text)), style)

    def right(self, text: str, width: int, style: Style = PLAIN) -> "Row":
        """Write any text against the right side of `width` cells."""
        text = fit(text, width)
        return self.put(" " * (width - cell_len(text)) + text, style)

    def to(self, column: int) -> "Row":
        """Add blanks up to a column."""
        return self.put(" " * (column - self.used)) if column > self.used else self

    def extend(self, pieces: Iterable[tuple[str, Style]]) -> "Row":
        """Write harmless pieces, each in its style."""
        for text, style in pieces:
            self.put(text, style)
        return self

    def dimmed(self) -> "Row":
        """Make all of it so far fainter; colours stay apart."""
        self.segments = [Segment(s.text, (s.style or PLAIN) + FAINT) for s in self.segments]
        return self

    def done(self) -> list[Segment]:
        """Return the row, blank up to its width."""
        return self.to(self.width).segments


class Frame:
    """A picture as rows of segments, each exactly `width` cells wide."""

    def __init__(self, width: int, rows: Sequence[list[Segment]]) -> None:
        self.width = width
        self.rows = list(rows)

    def dimmed(self, keep: int = 0) -> "Frame":
        """Return the same in grey, but for the first `keep` rows."""
        return Frame(
            self.width,
            [r if i < keep else [Segment(s.text, QUIET) for s in r] for i, r in enumerate(self.rows)],
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for row in self.rows:
            if options.ascii_only:
                yield from (Segment(s.text.translate(ASCII), s.style) for s in row)
            else:
                yield from row
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.width, self.width)


def bar(share: float, width: int, style: Style, mark: float | None = None) -> list[tuple[str, Style]]:
    """Draw a bar in eighths of a cell on a thin track, with a mark at a second share of it."""
    if width < 1:
        return []
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    out = [("█" * full, style), (EIGHTHS[rest] if rest else "", style)]
    track = width - full - (1 if rest else 0)
    at = -1 if mark is None else min(int(mark * width), width - 1)
    if at < 0:
        return [*out, ("─" * track, TRACK)]
    if at < full:
        lit = Style(color=style.color, reverse=True)
        return [("█" * at, style), ("│", lit), ("█" * (full - at - 1), style), out[1], ("─" * track, TRACK)]
    before = max(at - (width - track), 0)
    if before == 0 and at < width - track:
        return [*out, ("─" * track, TRACK)]  # the mark falls into the bar's own last cell
    return [*out, ("─" * before, TRACK), ("│", style), ("─" * (track - before - 1), TRACK)]


def thin_bar(share: float, width: int, style: Style) -> list[tuple[str, Style]]:
    """Draw a bar of half the weight, in halves of a cell: for rows that stand close together."""
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    full, half = divmod(halves, 2)
    return [("━" * full + "╸" * half, style), ("─" * (width - full - half), TRACK)]


def runs(cells: Iterable[tuple[str, Style]]) -> list[tuple[str, Style]]:
    """Join neighbouring segments of one style."""
    out: list[tuple[str, Style]] = []
    for text, style in cells:
        if out and out[-1][1] is style:
            out[-1] = (out[-1][0] + text, style)
        else:
            out.append((text, style))
    return out


def column(share: float, row: int, rows: int) -> str:
    """Return the part of a column `rows` high, filled to `share`, that falls into `row` (0 = top); never empty."""
    eighths = max(1, round(min(max(share, 0.0), 1.0) * rows * 8))
    return HEIGHTS[min(8, max(0, eighths - 8 * (rows - 1 - row)))]


def percent(probability: float) -> str:
    """Format a probability; 100 % only from 99.5 up."""
    return f"{100 * probability:.0f} %"


def duration(ms: float) -> str:
    """Format milliseconds in the largest sensible unit, in at most six characters."""
    if ms < 999.5:
        return f"{max(ms, 0):.0f} ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f} s"
    if ms < 3_570_000:
        return f"{ms / 60_000:.0f} min"
    return f"{ms / 3_600_000:.0f} h" if ms < 3.6e9 else "> 41 d"
