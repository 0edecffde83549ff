"""The table printed after a demo or a file: one line per stream with its final answer. Pure.

If the right answers are known, each answer is marked as right or wrong, and they are counted.
"""

from collections.abc import Mapping

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult

from streamcab.message import Prediction
from streamcab.view.board import Board
from streamcab.view.frame import Frame, Row, clean, duration, percent, thin_bar
from streamcab.view.palette import ALERT, BOLD, PLAIN, QUIET, hue
from streamcab.view.view_state import natural

_MOST = 50  # streams that are listed


class Summary:
    """A renderable as wide as the console it is printed on."""

    def __init__(self, board: Board, spoken: Mapping[str, str]) -> None:
        self._board = board
        self._answers = dict(sorted(board.predictions().items(), key=lambda item: natural(item[0])))
        known = {label for p in self._answers.values() for label in p.labels}
        self._spoken = {name: label for name, label in spoken.items() if label in known}

    def frame(self, width: int) -> Frame:
        """Draw the summary in `width` columns."""
        answers, board = self._answers, self._board
        if not answers:
            return Frame(width, [Row(width).put(" no stream was heard", QUIET).done()])
        shown = dict(list(answers.items())[:_MOST])
        name = min(max(6, *(cell_len(clean(n)) for n in shown)), max(width // 3, 6))
        labels = [cell_len(clean(p.top or "")) for p in shown.values()]
        accent = min(max(9, *labels), max(width // 4, 9))
        over = 15 if any(p.overflows for p in shown.values()) else 0
        over += 9 if self._spoken else 0
        length = min(width - name - accent - 31 - over, 40)
        title = (
            Row(width).put(" ").left("stream", name, QUIET).put("  ").left("accent", accent, QUIET).put("  ")
        )
        if length >= 6:
            title.put(" " * (length + 2))
        if self._spoken:
            title.put(" " * 9)
        title.right("sure", 5, QUIET).right("voiced", 10, QUIET).right("lost", 9, QUIET)
        rows = [title.done()]
        rows += [self._line(n, p, width, name, accent, length, board).done() for n, p in shown.items()]
        if len(answers) > len(shown):
            rows.append(Row(width).put(f" and {len(answers) - len(shown):,} more", QUIET).done())
        if self._spoken:
            rows += [Row(width).done(), Row(width).put(f" {self._counted()}", BOLD).done()]
        return Frame(width, rows)

    def _counted(self) -> str:
        """Return how many answers are right, of all and of those that the model is sure of."""
        found = [
            (p, label) for name, label in self._spoken.items() if (p := self._answers.get(name)) and p.top
        ]
        sure = [(p, label) for p, label in found if p.sure]
        said = f"{sum(p.top == label for p, label in found)} of {len(found)} right"
        if rest := len(self._spoken) - len(found):
            said += f", {rest} without an answer"
        return f"{said}; sure of {len(sure)}, {sum(p.top == label for p, label in sure)} of them right"

    def _line(
        self, n: str, p: Prediction, width: int, name: int, accent: int, length: int, board: Board
    ) -> Row:
        style = QUIET if p.top is None else hue(board.number(p.top))
        row = (
            Row(width)
            .put(" ")
            .left(n, name, BOLD)
            .put("  ")
            .left(p.top or "no answer", accent, style)
            .put("  ")
        )
        if length >= 6:
            row.extend(thin_bar(p.confidence or 0.0, length, style)).put("  ")
        if self._spoken:
            wrong = p.top != self._spoken.get(n)
            mark = "" if p.top is None or n not in self._spoken else "wrong" if wrong else "right"
            row.left(mark, 9, ALERT if wrong else PLAIN)
        row.right("" if p.top is None else percent(p.confidence or 0.0), 5, BOLD)
        row.right(f"{p.voiced_s:.1f} s", 10, PLAIN)
        row.right(duration(p.lost_ms) if p.lost_ms else "-", 9, ALERT if p.lost_ms else QUIET)
        return row.put(f"  {p.overflows} overflows" if p.overflows else "", ALERT)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.frame(options.max_width)


def summary(board: Board, spoken: Mapping[str, str] | None = None) -> Summary:
    """Sum up each stream: the final answer, its confidence, the voiced seconds behind it, and the lost ones.

    `spoken` has the label of each stream of which it is known.
    """
    return Summary(board, spoken or {})
