"""Writes docs/reference/configuration.md from the settings in streamcab/config: `python tools/make_configuration.py`.

tests/test_config_reference.py fails while the file is not what this makes.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import msgspec
from streamcab_train.recipe import Recipe

from streamcab.config.address import HostPort
from streamcab.config.commands import TREES
from streamcab.config.setting import Setting, plain, settings_of

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"

HEAD = """\
# Configuration

<!-- Made by tools/make_configuration.py from streamcab/config: change the settings there, then run it. -->

Every setting of `streamcab listen` is an option of the command line, a variable in the environment, and a key of a TOML
file:

| where | example | |
|---|---|---|
| command line | `--max-lag 3` | wins over all others |
| environment | `STREAMCAB_MAX_LAG=3` | several values stand side by side, with blanks between them |
| file, `--config FILE` | `max-lag = 3` | several values are a list: `device = ["USB", "Line"]` |
| default | | see below |

Unknown variables and unknown keys are errors that name the nearest known one.

```sh
streamcab config show --config mic.toml     # each setting, its value, and where that came from
streamcab config check mic.toml             # whether a file is right, and all that is wrong with it
```

Settings with **yes** under SIGHUP change in a running daemon: edit the file, then `systemctl reload streamcab@mic` or
`kill -HUP`. The log says what was taken and what needs a restart. The environment and the command line of a process
cannot change.
"""

OTHERS = """\
## Other commands

As above, with the same variables: `STREAMCAB_EVERY` is the `--every` of whichever command runs. `watch`, `demo`,
`classify` and `verify` take `--config` too.
"""

RECIPES = """\
## Training recipes

`streamcab train --config RECIPE` and `streamcab pretrain --config RECIPE` read a TOML file with these tables. Unknown
tables and keys are errors. `streamcab config check RECIPE` checks one.
"""


_NOUNS = {str: "text", Path: "path", HostPort: "HOST:PORT"}


def text() -> str:
    """The page."""
    parts = [HEAD, "## `streamcab listen`\n"]
    listen = settings_of(TREES["listen"]).values()
    for title, group in groupby(listen, lambda one: one.section):
        parts += [
            f"### {title}\n",
            _table(_settings(group), "setting", "may be", "default", "SIGHUP", "what it does"),
        ]
    parts.append(OTHERS)
    for command, tree in TREES.items():
        if command != "listen":
            rows = ([*row[:3], row[4]] for row in _settings(settings_of(tree).values()))
            parts += [
                f"### `streamcab {command}`\n",
                _table(rows, "setting", "may be", "default", "what it does"),
            ]
    parts.append(RECIPES)
    for section in msgspec.structs.fields(Recipe):
        title = (section.type.__doc__ or "").strip()
        rows = (
            [f"`{one.name}`", _kind(one), _code(one), _cell(one)]
            for one in settings_of(section.type).values()
        )
        parts += [
            f"### `[{section.name}]`\n\n{title}\n",
            _table(rows, "key", "may be", "default", "what it does"),
        ]
    return "\n".join(parts)


def _settings(settings: Iterable[Setting]) -> Iterator[list[str]]:
    for one in settings:
        yield [f"`{one.option}`", _kind(one), _code(one), "**yes**" if one.reload else "", _cell(one)]


def _kind(one: Setting) -> str:
    """Return the valid values of a setting, with its unit."""
    if one.table:
        return "a table of texts"
    if one.choices:
        return ", ".join(f"`{word}`" for word in one.choices)
    if one.kind not in (int, float):
        return "true or false" if one.kind is bool else _NOUNS[one.kind] + ("s" if one.many else "")
    noun = "whole number" if one.kind is int else "number"
    words = f"{noun}s" if one.many else f"a {noun}"
    limits = one.range.removesuffix(" and finite")
    return f"{words}, {limits} {one.unit}".rstrip(", ") if limits else f"{words} {one.unit}".rstrip()


def _code(one: Setting) -> str:
    """The default: a value as code, words as words."""
    if one.required:
        return "required"
    if one.default in (None, (), {}):
        return one.unset
    if one.many:
        return f"`[{', '.join(map(plain, one.default))}]`"
    return f"`{plain(one.default)}`" if one.default != "" else "empty"


def _cell(one: Setting) -> str:
    return one.help.replace("|", r"\|")


def _table(rows: Iterable[list[str]], *head: str) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += ["|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET}")
