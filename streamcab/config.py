"""Settings from a TOML file and from the environment, checked against the options that a command has.

Precedence is the command line's business: it lies above the environment, which lies above the file, which lies
above the defaults. A key that no option bears is an error, with the nearest one named. Knows nothing of what
the options mean.
"""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from streamcab.errors import ConfigError
from streamcab.shipped import recipes, shipped

PREFIX = "STREAMCAB_"


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file. One that is not here and is named `configs/...` is the one that came with streamcab.
        what: What to call it in an error.

    Returns:
        Its tables.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    ours = path.parts[:1] == ("configs",) and not path.exists()
    try:
        return tomllib.loads(((shipped(path) if ours else None) or path).read_text(encoding="utf-8"))
    except OSError as error:
        nearest = _nearest(str(path), set(recipes())) if ours else ""
        raise ConfigError(f"cannot read the {what} {path}: {error.strerror}{nearest}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None


def read_settings(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """The keys of a TOML file, dashes as underscores. ConfigError: not readable, not TOML, or a key not in `known`."""
    table = read_toml(path, "configuration")
    known = set(known)
    settings = {key.replace("-", "_"): value for key, value in table.items()}
    for key in table:
        if "-" in key and key.replace("-", "_") in table:
            raise ConfigError(f"{path}: {key} and {key.replace('-', '_')} are the same setting; leave one")
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r}{_nearest(key, known)}")
        if isinstance(value, dict):
            raise ConfigError(f"{path}: {key} is a table; write {key} = VALUE")
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str | int | float):
                raise ConfigError(f'{path}: {key} holds a {type(one).__name__}; write a number or "text"')
    return settings


def check_environment(environment: Mapping[str, str], known: Iterable[str]) -> None:
    """ConfigError for a variable STREAMCAB_X where no option of any command is called x."""
    known = set(known)
    for key in environment:
        if key.startswith(PREFIX) and key.removeprefix(PREFIX).lower() not in known:
            name = key.removeprefix(PREFIX).lower()
            raise ConfigError(f"unknown environment variable {key}{_nearest(name, known, PREFIX)}")


def _nearest(key: str, known: set[str], prefix: str = "") -> str:
    near = get_close_matches(key, known, 1)
    spelled = [prefix + n.upper() if prefix else n for n in near]
    return f"; did you mean {spelled[0]}?" if spelled else f"; known are {', '.join(sorted(known))}"
