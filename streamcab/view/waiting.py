"""The picture when there is no stream to show: is it the feed that is missing, or its streams? Pure."""

from rich.cells import cell_len

from streamcab.view.board import Board
from streamcab.view.frame import Frame, Row, fit
from streamcab.view.palette import BOLD, QUIET


def render_waiting(
    board: Board,
    size: tuple[int, int],
    now: float,
    *,
    caption: str = "",
    hint: str = "",
    since: float | None = None,
) -> Frame:
    """Draw the picture without streams, which says whether the feed or its streams are missing."""
    width, height = max(size[0], 1), max(size[1], 1)
    if board.heard is None:
        waited = "" if since is None or now - since < 2 else f"for {now - since:.0f} s"
        text, more = "waiting for the feed", waited
    elif board.quiet(now):
        text, more = f"feed quiet for {board.age(now) or 0:.0f} s", "it will be shown as soon as it is back"
    else:
        text = "no streams now" if board.ended else "no streams yet"
        more = f"{board.ended:,} ended" if board.ended else "the daemon is up"
    rows = [Row(width) for _ in range(height)]
    for offset, line, style in ((0, text, BOLD), (1, more, QUIET), (3, caption, QUIET)):
        at = max((height - 2) // 2, 0) + offset
        if at < height - (offset > 0):
            line = fit(line, width - 2)
            rows[at].to((width - cell_len(line)) // 2).put(line, style)
    if height > 4 and hint:
        rows[-1].right(hint, width - 1, QUIET)
    return Frame(width, [row.done() for row in rows])
