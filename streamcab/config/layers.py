"""The layers above the defaults: a TOML file and the environment, checked against the known settings.

The command line has precedence over the environment, that over the file, and that over the defaults; the command line
is not read here. Unknown keys are errors that name the nearest known one. Knows nothing of a setting's meaning.
"""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from streamcab.config.setting import PREFIX, Setting, decode, plain
from streamcab.errors import ConfigError
from streamcab.shipped import recipes, shipped
from streamcab.text import read_text


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file. One that is not here and is named `configs/...` is the one that came with streamcab.
        what: Its name in an error.

    Returns:
        Its tables.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    ours = path.parts[:1] == ("configs",) and not path.exists()
    try:
        return tomllib.loads(read_text((shipped(path) if ours else None) or path))
    except OSError as error:
        nearest = _nearest(str(path), set(recipes())) if ours else ""
        raise ConfigError(f"cannot read the {what} {path}: {error.strerror}{nearest}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def read_settings(path: Path, known: Mapping[str, Setting]) -> dict[str, Any]:
    """Read the settings in a TOML file by name, of their types.

    Raises:
        ConfigError: The file cannot be read or is not valid TOML, a key is not `known`, or a value cannot be right.
    """
    values, wrong = check_settings(path, known)
    if wrong:
        raise ConfigError(wrong[0])
    return values


def check_settings(path: Path, known: Mapping[str, Setting]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings in a TOML file that are right, and a line for each that is wrong.

    Raises:
        ConfigError: The file cannot be read or is not valid TOML.
    """
    table = read_toml(path, "configuration")
    values: dict[str, Any] = {}
    wrong = []
    for key, value in table.items():
        name = key.replace("-", "_")
        problem = ""
        if "-" in key and name in table:
            problem = f"{key} and {name} are the same setting; leave one"
        elif name not in known:
            problem = f"unknown key {name!r}{_nearest(name, set(known))}"
        else:
            values[name], problem = _converted(known[name], value)
        if problem:
            values.pop(name, None)
            wrong.append(f"{path}: {problem}")
    return values, wrong


def check_environment(environment: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise ConfigError for a variable STREAMCAB_X where no setting of any command is called x."""
    known = set(known)
    for key in environment:
        if key.startswith(PREFIX) and key.removeprefix(PREFIX).lower() not in known:
            name = key.removeprefix(PREFIX).lower()
            raise ConfigError(f"unknown environment variable {key}{_nearest(name, known, PREFIX)}")


def _converted(one: Setting, value: Any) -> tuple[Any, str]:
    """Return `value` in the setting's type, and its fault in words."""
    if isinstance(value, dict):
        return None, f"{one.name} is a table; write {one.name} = VALUE"
    several = value if isinstance(value, list) else [value]
    for element in several:
        if not isinstance(element, str | int | float):
            return None, f'{one.name} holds a {type(element).__name__}; write a number or "text"'
    if isinstance(value, list) and not one.many:
        return None, f"{one.name} is a list; it takes one value"
    if one.many:
        value = several
    try:
        return msgspec.convert(_texts(one, value), one.type, strict=False, dec_hook=decode), ""
    except msgspec.ValidationError:
        shown = repr(value) if isinstance(value, str | list) else plain(value)
        verb = "can" if one.choices else "must"
        return None, f"{one.name} is {shown}; it {verb} be {one.wanted}"


def _texts(one: Setting, value: Any) -> Any:
    """Turn a number into its text where text is wanted: a microphone's index needs no quotes."""
    if isinstance(value, list):
        return [_texts(one, element) for element in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if number and one.kind in (str, Path) and not one.choices else value


def _nearest(key: str, known: set[str], prefix: str = "") -> str:
    near = get_close_matches(key, known, 1)
    spelled = [prefix + n.upper() if prefix else n for n in near]
    return f"; did you mean {spelled[0]}?" if spelled else f"; known are {', '.join(sorted(known))}"
