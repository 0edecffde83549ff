"""Values of messages from outside, checked: numbers that may be text, text that may be anything, rates and labels.

Knows nothing of any protocol.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from streamcab.media.events import RATES, Malformed
from streamcab.text import printable

LONGEST_ID, LONGEST_KEY, LONGEST_VALUE = 128, 64, 256
"""Characters of an id, and of a label's name and value. Longer ones are cut."""
LABELS = 32
"""Labels of a call; more are left out."""
MOST = 2**53
"""The largest number that any protocol can mean."""

PHONES = frozenset(
    {"from", "to", "caller", "callee", "called", "callerid", "caller_id", "ani", "dnis", "phone", "number"}
)
"""Names of labels that hold telephone numbers."""
_PHONE = re.compile(r"(sips?:|tel:)?\+\d{7,15}\b.*")

_any = msgspec.json.Decoder()


def json_object(data: bytes | str) -> dict[str, Any]:
    """Read a JSON object; raise Malformed for anything else."""
    try:
        found = _any.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Malformed("no JSON") from None
    if not isinstance(found, dict):
        raise Malformed("no JSON object")
    return found


def object_at(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the object under the first of these names that has one; empty without one."""
    for name in names:
        if isinstance(found := table.get(name), dict):
            return found
    return {}


def text_at(table: Mapping[str, Any], *names: str) -> str:
    """Return the text under the first of these names that has some, fit for a log; empty without one."""
    for name in names:
        value = table.get(name)
        if isinstance(value, str) and value:
            return printable(value[:LONGEST_ID])
    return ""


def number(value: Any) -> float | None:
    """Return a number, also one that is written as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= 32 else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= MOST and math.isfinite(value) else None


def whole(value: Any) -> int | None:
    """Return a whole number, also one that is written as text; None for anything else."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 16:  # as most are
        return int(value)
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def rate_of(value: Any) -> int:
    """Return a sampling rate; raise Malformed for one that no platform has."""
    found = whole(value)
    if found not in RATES:
        raise Malformed("a sampling rate that no platform has")
    return found


def labels_of(*tables: Mapping[str, Any]) -> dict[str, str]:
    """Return names and values as labels: texts, numbers and truth values; the rest is left out."""
    found: dict[str, str] = {}
    for table in tables:
        for key, value in table.items():
            if len(found) == LABELS:
                return found
            if key and isinstance(value, str | int | float):
                text = str(value).lower() if isinstance(value, bool) else str(value)
                found[printable(key[:LONGEST_KEY])] = printable(text[:LONGEST_VALUE])
    return found


def numbers_of(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the telephone numbers `from` and `to`."""
    return {name: text for name in ("from", "to") if (text := text_at(table, name))}


def is_number(name: str, value: str) -> bool:
    """Return whether a label is a telephone number, by its name or by its form."""
    return name.lower() in PHONES or _PHONE.fullmatch(value) is not None
