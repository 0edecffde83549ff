"""The last 30 s as a strip of blocks. Knows cells (which label led, how clearly), no message."""

from itertools import groupby

from rich.style import Style

from streamcab.view.board import Cell
from streamcab.view.frame import column, runs
from streamcab.view.palette import PLAIN, TRACK, hue, level


def strip_row(cells: list[Cell], row: int, rows: int) -> list[tuple[str, Style]]:
    """One row of a strip `rows` high: height and colour are the probability; a line in pauses."""
    nobody = ("─" if row == rows - 1 else " ", TRACK)
    top = 7 / 8 if rows == 1 else 1.0  # a low strip keeps clear of the row above
    unheard = (" ", PLAIN)
    return runs(
        nobody
        if c is None
        else unheard
        if c[0] < 0
        else (column(c[1] * top, row, rows), hue(c[0], level(c[1])))
        for c in cells
    )


def spoken_runs(cells: list[Cell]) -> list[tuple[int | None, int]]:
    """Neighbouring cells of one label as (label, cells), breaths of up to two cells counted in."""
    numbers: list[int | None] = [None if c is None or c[0] < 0 else c[0] for c in cells]
    for i in range(1, len(numbers) - 1):
        if numbers[i] is None and numbers[i - 1] is not None and numbers[i - 1] in numbers[i + 1 : i + 3]:
            numbers[i] = numbers[i - 1]
    return [(number, len(list(group))) for number, group in groupby(numbers)]
