"""Writes an explanation as a TextGrid of Praat, in its long text format. Pure: an explanation in, a text out."""

from collections.abc import Iterable, Iterator

import numpy as np

from streamcab.explain.explained import Explained
from streamcab.inference.explanation import Explanation, runs
from streamcab.text import as_unicode

NOTHING = "-"
"""The label of stretches without speech."""

Interval = tuple[float, float, str]


def textgrid(one: Explained) -> str:
    """Format tiers: accent, the running answer; speech, the kind of sound; voice, its number; moved, the named
    stretches."""
    told = one.explanation
    tiers = {
        "accent": _whole(_accents(told, one.labels), one),
        "speech": _whole(_heard(told), one),
        "voice": _whole(_voices(told), one),
        "moved": _whole(_moved(told), one),
    }
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_number(one.seconds)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for i, (name, intervals) in enumerate(tiers.items(), 1):
        lines += [
            f"    item [{i}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {_number(one.seconds)}",
            f"        intervals: size = {len(intervals)}",
        ]
        for k, (start, end, text) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{k}]:",
                f"            xmin = {_number(start)}",
                f"            xmax = {_number(end)}",
                f"            text = {_quoted(text)}",
            ]
    return "\n".join(lines) + "\n"


def _accents(told: Explanation, labels: list[str]) -> Iterator[Interval]:
    leading = np.where(told.votes, np.nan_to_num(told.running).argmax(1), -1)
    for start, stop in runs(leading):
        text = NOTHING if leading[start] < 0 else labels[leading[start]]
        yield start * told.interval_s, stop * told.interval_s, text


def _heard(told: Explanation) -> Iterator[Interval]:
    for start, stop in runs(told.hears):
        yield start * told.interval_s, stop * told.interval_s, str(told.hears[start])


def _voices(told: Explanation) -> Iterator[Interval]:
    for start, stop in runs(told.voices):
        yield start * told.interval_s, stop * told.interval_s, str(told.voices[start])


def _moved(told: Explanation) -> Iterator[Interval]:
    at = 0
    for i in sorted({*told.pro, *told.contra}):
        one = told.stretches[i]
        if one.start > at:
            yield at * told.interval_s, one.start * told.interval_s, ""
        yield one.start * told.interval_s, one.stop * told.interval_s, f"{one.moved:+.3f}"
        at = one.stop
    if at < len(told.votes):
        yield at * told.interval_s, len(told.votes) * told.interval_s, ""


def _whole(intervals: Iterable[Interval], one: Explained) -> list[Interval]:
    """Extend the intervals to the length of the file, the end of which is not answered."""
    found = list(intervals)
    start, end, text = found[-1]
    if one.seconds - end < one.explanation.interval_s:
        found[-1] = start, one.seconds, text
    else:
        found.append((end, one.seconds, ""))
    return found


def _number(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + as_unicode(text).replace('"', '""') + '"'
