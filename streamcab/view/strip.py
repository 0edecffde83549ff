"""The answer over the last 30 s as a strip of blocks. Knows cells (which answer, how likely), no message."""

from itertools import groupby

from rich.style import Style

from streamcab.view.frame import column, runs
from streamcab.view.history import Cell
from streamcab.view.palette import PLAIN, TRACK, hue, level


def strip_row(cells: list[Cell], row: int, rows: int) -> list[tuple[str, Style]]:
    """Draw one row of a strip `rows` high: colour is the answer, height its probability; a line without speech."""
    line = "─" if row == rows - 1 else " "
    top = 7 / 8 if rows == 1 else 1.0  # a low strip keeps clear of the row above

    def drawn(cell: Cell) -> tuple[str, Style]:
        if cell is None:
            return line, TRACK
        label, likely = cell
        if label < 0:
            return " ", PLAIN
        if not likely:
            return line, hue(label)
        return column(likely * top, row, rows), hue(label, level(likely))

    return runs(map(drawn, cells))


def spoken_runs(cells: list[Cell]) -> list[tuple[int | None, int]]:
    """Return neighbouring cells of one answer as (label, cells), gaps of up to two cells counted in."""
    numbers: list[int | None] = [None if c is None or c[0] < 0 else c[0] for c in cells]
    for i in range(1, len(numbers) - 1):
        if numbers[i] is None and numbers[i - 1] is not None and numbers[i - 1] in numbers[i + 1 : i + 3]:
            numbers[i] = numbers[i - 1]
    return [(number, len(list(group))) for number, group in groupby(numbers)]
