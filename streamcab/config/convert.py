"""A Struct made of the tables of a TOML or JSON file, with a one-line error: key, value, valid values.

msgspec checks; its errors name types of its own, so the line is made here. Knows nothing of files.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from streamcab.config.setting import Setting, decode, listed, settings_of
from streamcab.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

_WANTED = {bool: "bool", int: "int", float: "float", str: "str"}
_LISTS = {int: "a list of integers", float: "a list of numbers", str: "a list of strings"}


def convert(table: Mapping[str, Any], tree: type[T], where: str) -> T:
    """Convert tables to a tree of sections.

    Args:
        table: Sections by name, each a table of settings by name.
        tree: The Struct to make.
        where: The file, for the error.

    Raises:
        ConfigError: A section or a key is unknown, or a value is of another type or out of its range.
    """
    try:
        return msgspec.convert(table, tree, dec_hook=decode)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_explained(str(error), table, tree)}") from None


def _explained(text: str, table: Mapping[str, Any], tree: type[msgspec.Struct]) -> str:
    """Return msgspec's complaint in the words of the file."""
    found = re.search(r" - at `\$\.?(.*)`$", text)
    section, _, name = (found[1] if found else "").partition(".")
    name = re.split(r"[.\[]", name)[0]
    sections = {field.name: field.type for field in msgspec.structs.fields(tree)}
    unknown = re.search(r"unknown field `(.*?)`", text)
    if unknown and not section:
        return f"unknown section {unknown[1]!r}; there are {', '.join(sections)}"
    if not name:
        if not unknown:
            return f"[{section}] must be a table"
        return f"{section}: unknown key {unknown[1]!r}; there are {', '.join(settings_of(sections[section]))}"
    return _wrong(settings_of(sections[section])[name], table[section][name], f"{section}.{name}")


def _wrong(one: Setting, value: Any, key: str) -> str:
    """Return the fault in the value of one setting, in words."""
    if one.table:
        return f"{key} is {value!r}; it must be a table of strings"
    if one.many:
        if isinstance(value, list | tuple) and all(_is(element, one.kind) for element in value):
            return f"{key} are {list(value)}; each must be {one.range}"
        return f"{key} is {value!r}; it must be {_LISTS[one.kind]}"
    if one.choices:
        return f"{key} is {value!r}; it can be {listed(one.choices)}"
    if not _is(value, one.kind):
        return f"{key} is {value!r}; it must be {_WANTED[one.kind]}"
    return f"{key} is {value!r}; it must be {one.range}"


def _is(value: Any, kind: type) -> bool:
    """Return whether a value is of a kind by TOML's rules: an integer is a number, true is not."""
    if kind is not bool and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)
