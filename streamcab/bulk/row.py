"""Rows of a table of answers: one for a file, a channel of it, or a segment of it; errors are rows, too.

Knows nothing of files or of tables.
"""

from typing import Any

import msgspec

from streamcab.message import Prediction


class Row(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A row; `number` is the place of its file in the list, `name` its path and channel, safe to print."""

    number: int
    id: str
    path: str
    name: str
    channel: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    answer: Prediction | None = None
    notes: str = ""
    error: str = ""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Row).decode


def columns(labels: list[str]) -> list[str]:
    """Return the columns of a table of answers of a model."""
    return [
        *("id", "path", "channel", "start_s", "end_s", "top", "confidence", "sure", "other"),
        *(f"p_{label}" for label in labels),
        *("voiced_s", "snr_db", "flaws", "model", "notes", "error"),
    ]


def flat(row: Row, labels: list[str]) -> list[Any]:
    """Return a row's values, in that order; None where there is none."""
    a = row.answer
    probs = a.probs if a is not None else {}
    return [
        *(row.id, row.path, row.channel or None, row.start_s, row.end_s),
        *((None,) * 4 if a is None else (a.top, a.confidence, a.sure, a.other)),
        *(probs.get(label) for label in labels),
        *((None,) * 4 if a is None else (a.voiced_s, a.snr_db, " ".join(a.flaws) or None, a.model)),
        *(row.notes or None, row.error or None),
    ]
