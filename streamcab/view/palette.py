"""Colours, and the words and signs of a state.

Every colour stands at 3:1 or better on black and on white, and the first six stay apart for
protanopes, deuteranopes and tritanopes. Nothing depends on colour alone: lengths, heights, names and words carry
the same information. Knows no stream.
"""

from functools import lru_cache

from rich.style import Style

HUES = (
    "#2F83D3", "#C77B00", "#0F9574", "#8547EB", "#38708C",
    "#65732E", "#F23D6D", "#93993D", "#6997BF", "#E617A1",
)  # fmt: skip
GREY, THIN, WARN = "#808080", "#707070", "#D5402B"
LEVELS = 8

PLAIN = Style()
BOLD = Style(bold=True)
QUIET = Style(color=GREY)  # captions, units, the past
TRACK = Style(color=THIN, dim=True)  # the empty part of a bar
ALERT = Style(color=WARN, bold=True)
FAINT = Style(dim=True, bold=False)

SIGN: dict[str, str] = {
    "warming": "◌", "live": "●", "silent": "○", "stalled": "…", "lost": "×", "reconnecting": "↻", "ended": "■",  # noqa: RUF001
}  # fmt: skip
STATE_STYLE: dict[str, Style] = {
    "warming": PLAIN,
    "live": PLAIN,
    "silent": QUIET,
    "stalled": ALERT,
    "lost": ALERT,
    "reconnecting": ALERT,
    "ended": QUIET,
}


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


@lru_cache(maxsize=4096)
def hue(number: int, level: int = LEVELS - 1, bold: bool = False) -> Style:
    """Return the colour of a label: pure at the highest level, paler below: grey shows on dark and on light."""
    share = 0.15 + 0.85 * level / (LEVELS - 1)
    pure, grey = _channels(HUES[number % len(HUES)]), _channels(GREY)
    mixed = [round(g + (p - g) * share) for p, g in zip(pure, grey, strict=True)]
    return Style(color="#{:02x}{:02x}{:02x}".format(*mixed), bold=bold or None)


def level(probability: float) -> int:
    """Return the step of brightness for a probability: below a half everything is pale."""
    return min(LEVELS - 1, max(0, int((probability - 0.3) / 0.6 * LEVELS)))
