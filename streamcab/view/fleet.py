"""The picture of many streams: a table, like `top`, one row per call, below the counts per accent.

`render_fleet` is pure, and builds the visible rows only: hidden streams cost nothing. Knows no terminal.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.style import Style

from streamcab.view.board import Board, Shown, Stream
from streamcab.view.frame import Frame, Row, clean, duration, fit, fit_name, percent, thin_bar
from streamcab.view.palette import ALERT, BOLD, PLAIN, QUIET, SIGN, STATE_STYLE, hue
from streamcab.view.strip import strip_row
from streamcab.view.view_state import ViewState, sort
from streamcab.view.waiting import render_waiting

_STATES: tuple[Shown, ...] = ("live", "warming", "silent", "stalled", "lost")


class _Widths(NamedTuple):
    """Cells of each column; 0: it has no room."""

    name: int
    accent: int
    percent: int
    state: int
    lost: int
    lag: int
    bar: int
    strip: int
    level: int
    voiced: int


def render_fleet(
    board: Board,
    size: tuple[int, int],
    now: float,
    view_state: ViewState | None = None,
    *,
    names: Sequence[str] | None = None,
    caption: str = "",
    hint: str = "",
) -> Frame:
    """Draw all streams in `size` (columns, rows); `names` is an order computed before by `sort`."""
    view_state = view_state or ViewState()
    if not board.streams:
        return render_waiting(board, size, now, caption=caption, hint=hint)
    width, height = max(size[0], 1), max(size[1], 1)
    margin = 1 if width < 100 else 2
    names = sort(board, view_state) if names is None else [n for n in names if n in board.streams]
    rows = [_header(board, width, margin, now, caption)]
    rows += [Row(width)] * (height >= 20)
    room = table_rows(height)
    if height >= 8:
        counts = Counter(s.top for s in board.streams.values() if s.ended is None)
        rows += [_stack(board, counts, width, margin), _legend(board, counts, width, margin)]
    if height >= 16:
        rows.append(Row(width))
    widths = _widths(width - 2 * margin - 2, _accent_cells(board), max(map(len, names), default=0))
    rows.append(_titles(widths, width, margin, view_state))
    selected = names.index(view_state.selected) if view_state.selected in names else 0
    first = selected // room * room
    for name in names[first : first + room]:
        rows.append(_line(board, board.streams[name], widths, width, margin, name == view_state.selected))
    rows += [Row(width) for _ in range(height - 1 - len(rows))]
    rows = rows[: max(height - 1, 1)]
    if height > 1:
        rows.append(_footer(board, view_state, names, first, room, width, margin, hint))
    frame = Frame(width, [row.done() for row in rows])
    return frame.dimmed(keep=1) if board.quiet(now) else frame


def table_rows(height: int) -> int:
    """Return how many streams fit into a picture of this height."""
    return max(height - 3 - 2 * (height >= 8) - (height >= 16) - (height >= 20), 1)


def _widths(room: int, accent: int, longest: int) -> _Widths:
    """Distribute the cells of a row: the most important columns first; then bar, strip and name grow."""
    name, accent = max(min(14, room // 3), 4), min(accent, max(room // 4, 6))
    given = {"name": name, "accent": accent, "percent": 5, "state": 1}
    wanted = (
        ("state", 9), ("lost", 7), ("lag", 7), ("strip", 10), ("name", 24), ("bar", 8), ("level", 8),
        ("voiced", 8), ("strip", 24), ("bar", 16), ("strip", 40), ("name", 36), ("strip", 60), ("bar", 24),
        ("strip", 300),
    )  # fmt: skip
    for column, cells in wanted:
        before = given.get(column, 0)
        gaps = 2 * (len(given | {column: 0}) - 1)
        rest = room - gaps - sum(given.values())
        if before and column in ("name", "strip", "bar"):
            limit = longest if column == "name" else cells
            given[column] = max(before, min(cells, limit, before + rest))
        elif rest + before >= cells:
            given[column] = cells
    return _Widths(**{column: given.get(column, 0) for column in _Widths._fields})


def _accent_cells(board: Board) -> int:
    return max([6, *(cell_len(clean(label)) for label in board.labels())])


def _header(board: Board, width: int, margin: int, now: float, caption: str) -> Row:
    row = Row(width).to(margin)
    going = [s for s in board.streams.values() if s.ended is None]
    count = len(going)
    row.put(f"{count:,} stream" + ("s" if count != 1 else ""), BOLD)
    if board.quiet(now):
        word = f"feed quiet for {board.age(now) or 0:.0f} s"
        return row.to(max(width - margin - len(word), row.used + 2)).put(word, ALERT)
    states = Counter(_short(s) for s in going)
    for state, n in (*((state, states[state]) for state in _STATES), ("ended", board.ended)):
        if n and row.used + len(state) + 12 < width:
            row.put("   ").put(f"{n:,} {state}", ALERT if state == "lost" else QUIET)
    if not caption and board.daemon is not None:
        caption = board.daemon.detail or f"pass {duration(board.daemon.pass_ms)}"
    room = width - margin - row.used - 3
    if caption and room >= min(cell_len(caption), 16):
        text = fit(caption, room)
        row.to(width - margin - cell_len(text)).put(text, QUIET)
    return row


def _shares(counts: Sequence[int], cells: int) -> list[int]:
    """Distribute `cells` in proportion: at least one to every non-zero share, and no more than there are."""
    total, out = sum(counts), [0] * len(counts)
    for i in sorted(range(len(counts)), key=lambda i: -counts[i])[:cells]:
        out[i] = max(1, cells * counts[i] // total) if counts[i] else 0
    while sum(out) > cells:
        out[out.index(max(out))] -= 1
    if any(out):
        out[out.index(max(out))] += cells - sum(out)
    return out


def _ordered(board: Board, counts: Counter[str | None]) -> list[tuple[str | None, int]]:
    """Return (label, streams), in the model's order, those without an answer last."""
    named: list[tuple[str | None, int]] = [
        (label, counts[label]) for label in board.labels() if counts[label]
    ]
    return named + ([(None, counts[None])] if counts[None] else [])


def _stack(board: Board, counts: Counter[str | None], width: int, margin: int) -> Row:
    row, parts = Row(width).to(margin), _ordered(board, counts)
    cells = _shares([count for _, count in parts], max(width - 2 * margin - (len(parts) - 1), 1))
    for (label, _), length in zip(parts, cells, strict=True):
        if length:
            row.put("█" * length if label else "─" * length, _style(board, label)).put(" ")
    return row


def _legend(board: Board, counts: Counter[str | None], width: int, margin: int) -> Row:
    row, parts = Row(width).to(margin), _ordered(board, counts)
    gap = 3 if width >= 60 else 2
    for i, (label, count) in enumerate(parts):
        text = f"{clean(label or 'no answer')} {count:,}"
        left = len(parts) - i - 1
        if row.used + 2 + cell_len(text) + (gap + len(f"+{left}") if left else 0) > width - margin:
            row.put(f"+{left + 1}", QUIET)
            break
        row.put("■ " if label else "─ ", _style(board, label)).put(text).put(" " * gap)
    return row


def _style(board: Board, label: str | None) -> Style:
    return QUIET if label is None else hue(board.number(label))


def _titles(w: _Widths, width: int, margin: int, view_state: ViewState) -> Row:
    row = Row(width).to(margin + 2)
    key = {"least certain": "sure", "loss": "lost"}.get(view_state.sorting, view_state.sorting)
    titles = (
        ("name", w.name, False), ("accent", w.accent, False), ("bar", w.bar, False),
        ("sure", w.percent, True), ("last 30 s", w.strip, False), ("voiced", w.voiced, True),
        ("level", w.level, True), ("lag", w.lag, True), ("lost", w.lost, True), ("state", w.state, False),
    )  # fmt: skip
    for title, cells, right in titles:
        if cells:
            style = BOLD if title == key else QUIET
            title = "" if title == "bar" or cells < len(title) else title
            (row.right if right else row.left)(title, cells, style).put("  ")
    return row


def _line(board: Board, s: Stream, w: _Widths, width: int, margin: int, selected: bool) -> Row:
    p, top = s.prediction, s.top
    pale = s.state in ("silent", "ended") or top is None
    text = BOLD if selected else QUIET if pale else PLAIN
    style = hue(board.number(top)) if top is not None else QUIET
    row = Row(width).to(margin).put("▸ " if selected else "  ", BOLD)
    row.left(fit_name(s.name, w.name), w.name, text).put("  ")
    row.left(f"{top}?" if s.doubtful else top or "-", w.accent, style).put("  ")
    if w.bar:
        row.extend(thin_bar(s.confidence, w.bar, style)).put("  ")
    row.right(percent(s.confidence) if top is not None else "", w.percent, text).put("  ")
    if w.strip:
        row.extend(strip_row(s.history.cells(w.strip), 0, 1)).put("  ")
    if w.voiced:
        row.right(f"{p.voiced_s:.1f} s" if p else "", w.voiced, text).put("  ")
    if w.level:
        row.right("" if p is None or p.level_db is None else f"{p.level_db:.0f} dB", w.level, text).put("  ")
    if w.lag:
        row.right(duration(s.lag_ms), w.lag, ALERT if s.lag_ms > 1000 else text).put("  ")
    if w.lost:
        lost = s.lost_ms > 0
        row.right(duration(s.lost_ms) if lost else "-", w.lost, ALERT if lost else QUIET).put("  ")
    state = _short(s)
    said = percent(p.duty) if state == "live" and p is not None and p.duty < 1 else state
    word = f"{SIGN[state]} {said}" if w.state > 1 else SIGN[state]
    row.left(word, w.state, STATE_STYLE[state])
    return row if s.ended is None else row.dimmed()


def _short(stream: Stream) -> Shown:
    """Put the state in a word that fits the column."""
    return "lost" if stream.shown == "reconnecting" else stream.shown


def _footer(
    board: Board,
    view_state: ViewState,
    names: Sequence[str],
    first: int,
    room: int,
    width: int,
    margin: int,
    hint: str,
) -> Row:
    row = Row(width).to(margin)
    shown = min(len(names) - first, room)
    if view_state.typing:
        return (
            row.put("/ ", BOLD)
            .put(fit(view_state.filter, width - 24))
            .put("│  ")
            .put(f"{len(names):,} match", QUIET)
        )
    if not names:
        text = f"no name holds {clean(view_state.filter)!r}"
    elif shown < len(names):
        text = f"{first + 1:,}-{first + shown:,} of {len(names):,}, {len(names) - shown:,} not shown"
    else:
        text = f"all {len(names):,} shown"
    if view_state.filter and names:
        text += f"   filter: {clean(view_state.filter)}"
    if board.full:
        text += "   more streams than a viewer keeps"
    text += f"   sorted by {view_state.sorting}" if width >= 80 else ""
    inner = width - 2 * margin
    if cell_len(text) + cell_len(hint) + 2 > inner:
        hint = hint.split("  ")[0]
    if cell_len(text) + cell_len(hint) + 2 > inner:
        hint = ""
    row.put(fit(text, max(inner, 0)), QUIET)
    return row.to(width - margin - cell_len(hint)).put(hint, QUIET)
