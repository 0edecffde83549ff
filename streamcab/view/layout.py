"""Distributes the rows of the one-stream picture: the most important sections first, then spacing.

Knows names of sections and numbers of rows, nothing of their contents.
"""

# (section, rows): granted in this order for as long as there is room
_WISHES = (
    ("answer", 1), ("bars", 2), ("header", 1), ("strip", 1), ("numbers", 1), ("footer", 1), ("bars", 3),
    ("level", 1), ("attention", 1), ("bars", 99), ("runs", 1), ("answer", 3), ("air1", 1), ("air", 1),
    ("air2", 1), ("air4", 1), ("strip", 2), ("air3", 1), ("strip", 3), ("spread", 1), ("numbers", 2),
    ("air5", 1), ("axis", 1), ("answer", 5), ("strip", 4), ("attention", 2), ("strip", 6), ("air6", 1),
    ("air", 2), ("air4", 2), ("strip", 8), ("air2", 2), ("air3", 2), ("strip", 12), ("strip", 16),
)  # fmt: skip
ORDER = (
    "header", "air", "answer", "air1", "bars", "spread", "air2", "strip", "runs", "axis", "air3", "attention",
    "air5", "level", "air4", "numbers", "air6",
)  # fmt: skip
"""The sections from top to bottom; the footer follows at the very bottom. `air` is blank."""

_STEADY = {"answer", "bars", "header", "footer"}
"""The sections that never lose a row when the picture becomes higher."""


def grant(height: int, bars: int, most: dict[str, int]) -> dict[str, int]:
    """Return the number of rows of each section: `bars` rows of bars are wanted, and `most` limits sections."""
    given: dict[str, int] = {}
    refused = False
    for section, rows in _WISHES:
        rows = min(rows, most.get(section, rows))
        if section == "bars":
            rows = min(rows, bars)
        if section == "spread":
            rows = given.get("bars", 0) - 1 if given.get("bars", 0) == bars else 0
        rest = sum(given.values()) - given.get(section, 0)
        if section == "bars" and rest + rows > height:
            rows = max(height - rest, given.get(section, 0))  # some of many bars are better than none
        if rest + rows > height:
            refused = True
        # One more row may grant a wish refused here, at the cost of all later ones: a steady section waits for it.
        elif rows > 0 and not (refused and section in _STEADY):
            given[section] = rows
    return given
