"""Writes docs/reference/feed.schema.json from the types in streamcab/message.py: `python tools/make_schema.py`.

The descriptions are the strings under the fields. Objects may grow: further properties are allowed, and what
has a default is not required. tests/test_message.py fails while the file is not what this makes.
"""

import ast
import inspect
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from streamcab import message

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "feed.schema.json"


def descriptions(kind: type) -> dict[str, str]:
    """The string under each field of `kind` and of what it inherits from."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-2]):  # without msgspec's own Struct and object
        if owner.__module__ != message.__name__:
            continue
        body = ast.parse(inspect.getsource(owner)).body[0].body  # type: ignore[attr-defined]
        for here, below in pairwise(body):
            if isinstance(here, ast.AnnAssign) and isinstance(below, ast.Expr):
                found[here.target.id] = ast.literal_eval(below.value)  # type: ignore[union-attr]
    return found


def schema() -> dict[str, Any]:
    """JSON Schema of any message of the feed."""
    made = msgspec.json.schema(message.AnyMessage)
    for kind in message.KINDS.values():
        body = made["$defs"][kind.__name__]
        body["required"] = [name for name in body["properties"] if name in {*body["required"], "run", "seq"}]
        for name, text in descriptions(kind).items():
            body["properties"][name]["description"] = text
        for name in ("run", "seq"):  # the publisher fills them in: their defaults never arrive
            del body["properties"][name]["default"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"streamcab feed, {message.VERSION}",
        **made,
    }


def text() -> str:
    """The file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET}")
