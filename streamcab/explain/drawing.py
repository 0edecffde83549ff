"""Draws an explanation as SVG, without a library for it. Pure: an explanation in, a text out.

From the top: the mean of c_t by second, with the named stretches behind it; the running answer; how much each stretch
moved; what was heard; attention by second.
"""

from collections.abc import Iterator
from html import escape

import numpy as np
from numpy.typing import NDArray

from streamcab.explain.explained import Explained
from streamcab.inference.explanation import Explanation, runs
from streamcab.text import printable

WIDTH, LEFT, RIGHT = 860, 75, 130
PLOT = WIDTH - LEFT - RIGHT
SECOND, RUNNING, MOVED, HEARS, ATTENTION = (46, 124), (195, 90), (310, 80), (412, 12), (446, 60)
"""Top and height of each part."""
HEIGHT = 550
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#444444")
"""Okabe and Ito's, told apart by the colour-blind too."""
PRO, CONTRA = "#6a51a3", "#e69f00"
SHADES = {"speech": "#666", "sound": "#bbb", "silence": "#eee"}
TEXT = 'font-family="sans-serif" font-size="12" fill="#444"'
POINTS = 1500
"""Of a line, at most: more would not be seen."""
COLUMNS = 200
"""Of the picture of attention, at most."""
FAINT = 0.02
"""Attention below this share of the largest is left white."""


def drawing(one: Explained) -> str:
    """Draw the whole picture."""
    told, top = one.explanation, one.answer.top
    answer = "no speech" if top is None else f"{top}, {one.answer.confidence:.2f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 20, f"{one.name}: {answer}"),
        *_marks(told, one.seconds),
        *_lines(told.second, told, one, SECOND, "c_t, by second"),
        *_lines(told.running, told, one, RUNNING, "answer so far"),
        *_bars(told, one.seconds, top),
        *_heard(told, one.seconds),
        *_attention(told, one.seconds),
        *_times(one.seconds),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}{TEXT}>{escape(printable(text))}</text>'


def _x(seconds: float, whole: float) -> float:
    return LEFT + seconds / whole * PLOT


def _box(start: float, end: float, whole: float, y: float, height: float, fill: str, more: str = "") -> str:
    x, width = _x(start, whole), (end - start) / whole * PLOT
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}" fill="{fill}"{more}/>'


def _marks(told: Explanation, whole: float) -> Iterator[str]:
    """Draw the named stretches, behind the two courses."""
    height = RUNNING[0] + RUNNING[1] - SECOND[0]
    for some, colour in ((told.pro, PRO), (told.contra, CONTRA)):
        for i in some:
            start, end = (k * told.interval_s for k in (told.stretches[i].start, told.stretches[i].stop))
            yield _box(start, end, whole, SECOND[0], height, colour, ' fill-opacity="0.18"')


def _lines(
    values: NDArray[np.float64], told: Explanation, one: Explained, place: tuple[int, int], title: str
) -> Iterator[str]:
    """Draw a line for each label from 0 to 1, broken where nothing is known."""
    top, height = place
    for share in (0.0, 0.5, 1.0):
        y = top + (1 - share) * height
        yield f'<path d="M{LEFT} {y:.1f}h{PLOT}" stroke="#ddd"/>'
        yield _text(LEFT - 8, y + 4, f"{share:g}", 'text-anchor="end" ')
    yield _text(LEFT, top - 5, title)
    step = max(-(-len(values) // POINTS), 1)
    for i, label in enumerate(one.labels):
        colour, column = COLOURS[i % len(COLOURS)], values[::step, i]
        known = np.isfinite(column)
        for start, stop in runs(known):
            if not known[start]:
                continue
            points = "L".join(
                f"{_x((k * step + 0.5) * told.interval_s, one.seconds):.1f} {top + (1 - column[k]) * height:.1f}"
                for k in range(start, stop)
            )
            yield f'<path d="M{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        if place == SECOND:
            y = top + 14 + 18 * i
            yield f'<path d="M{WIDTH - RIGHT + 10} {y - 4}h16" stroke="{colour}" stroke-width="2"/>'
            yield _text(WIDTH - RIGHT + 32, y, label)


def _bars(told: Explanation, whole: float, label: str | None) -> Iterator[str]:
    """Yield a bar for how much each stretch moved, up for the label and down against it."""
    top, height = MOVED
    middle = top + height / 2
    yield _text(LEFT, top - 5, f"log-odds of {label} that half a second moved" if label else "nothing moved")
    yield f'<path d="M{LEFT} {middle:.1f}h{PLOT}" stroke="#888"/>'
    most = max((abs(s.moved) for s in told.stretches), default=0.0)
    if not most:
        return
    for sign in (1, -1):
        yield _text(LEFT - 8, middle - sign * height / 2 + 4, f"{sign * most:+.2g}", 'text-anchor="end" ')
    named = {*told.pro, *told.contra}
    for i, s in enumerate(told.stretches):
        size = abs(s.moved) / most * height / 2
        faint = "" if i in named else ' fill-opacity="0.35"'
        y, colour = (middle - size, PRO) if s.moved > 0 else (middle, CONTRA)
        yield _box(s.start * told.interval_s, s.stop * told.interval_s, whole, y, size, colour, faint)
    for i, (word, colour) in enumerate((("for", PRO), ("against", CONTRA))):
        y = top + 14 + 18 * i
        yield f'<rect x="{WIDTH - RIGHT + 10}" y="{y - 10}" width="16" height="10" fill="{colour}"/>'
        yield _text(WIDTH - RIGHT + 32, y, word)


def _heard(told: Explanation, whole: float) -> Iterator[str]:
    top, height = HEARS
    for start, stop in runs(told.hears):
        shade = SHADES[str(told.hears[start])]
        yield _box(start * told.interval_s, stop * told.interval_s, whole, top, height, shade)
    yield _text(LEFT - 8, top + 10, "heard", 'text-anchor="end" ')
    for i, (word, shade) in enumerate(SHADES.items()):
        y = top + 4 + 16 * i
        yield f'<rect x="{WIDTH - RIGHT + 10}" y="{y - 9}" width="16" height="10" fill="{shade}"/>'
        yield _text(WIDTH - RIGHT + 32, y, word)


def _attention(told: Explanation, whole: float) -> Iterator[str]:
    """Draw a row for each classifier, darker where it has more weight."""
    top, height = ATTENTION
    yield _text(LEFT - 8, top + height / 2, "attention", 'text-anchor="end" ')
    step = max(-(-len(told.attention) // COLUMNS), 1)
    rows = told.attention.shape[1]
    most = np.nanmax(told.attention, initial=0) or 1.0
    for k in range(0, len(told.attention), step):
        for row, weight in enumerate(told.attention[k]):
            if weight > FAINT * most:
                dark = f' fill-opacity="{weight / most:.2f}"'
                y, end = top + row * height / rows, min(k + step, whole)
                yield _box(k, end, whole, y, height / rows, "#333", dark)


def _times(whole: float) -> Iterator[str]:
    """Draw the seconds below, at most a dozen of them."""
    steps = [size * 10**power for power in range(6) for size in (1, 2, 5)]
    step = next(s for s in steps if whole / s <= 12 or s == steps[-1])
    for second in range(0, int(whole) + 1, step):
        yield _text(_x(second, whole), HEIGHT - 26, f"{second}", 'text-anchor="middle" ')
    yield _text(LEFT + PLOT / 2, HEIGHT - 8, "seconds", 'text-anchor="middle" ')
