"""Settings: fields of msgspec Structs with type, unit, range, default and help.

A tree is a Struct whose fields are settings or sections, which are Structs of settings. A setting has the same name on
the command line (`--max-lag`), in the environment (`STREAMCAB_MAX_LAG`) and in a file (`max-lag`), whichever section it
belongs to. Knows nothing of individual settings, of files, variables or options.
"""

import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from streamcab.config.address import HostPort

T = TypeVar("T", bound=msgspec.Struct)

PREFIX = "STREAMCAB_"
FINITE = sys.float_info.max
"""Limit of numbers for which any value but infinity is valid."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings that belong together, or sections of them. The docstring is the title in the configuration reference."""


def setting(
    help: str,
    *,
    unit: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    reload: bool = False,
    metavar: str = "",
    unset: str = "",
    path: Literal["", "file", "folder"] = "",
) -> msgspec.Meta:
    """Return the metadata of a setting, for `Annotated`.

    Args:
        help: One or two sentences.
        unit: Unit of a number: s, ms, Hz, MB, ...
        least: Smallest number, or element of a list.
        above: Limit that numbers must exceed.
        most: Largest number.
        below: Limit that numbers must stay below.
        reload: Whether SIGHUP changes the setting in a running daemon.
        metavar: Shown in the help instead of the type.
        unset: Meaning of None, in words.
        path: "file" if a path must not be a folder, "folder" if it must not be a file.
    """
    extra = {"unit": unit, "reload": reload, "metavar": metavar, "unset": unset, "path": path}
    limits: dict[str, Any] = {"ge": least, "gt": above, "le": most, "lt": below}
    return msgspec.Meta(description=help, extra=extra, **limits)


@dataclass(frozen=True)
class Setting:
    """One setting of a tree.

    Attributes:
        name: In the tree; dashes and underscores are the same in files.
        section: Title of its section.
        type: Its annotation, for msgspec.
        kind: bool, int, float, str, Path or HostPort; with `many`, of the elements.
        default: None if there is none and it is not required: `unset` says what holds.
        help, unit, reload, metavar, unset, path, least, above, most, below: See `setting`.
        choices: The allowed words, if only some are.
        many: Whether it takes several values.
        table: Whether it takes a table.
    """

    name: str
    section: str
    type: Any
    kind: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    many: bool = False
    table: bool = False
    unit: str = ""
    reload: bool = False
    metavar: str = ""
    unset: str = ""
    path: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return "--" + self.key

    @property
    def key(self) -> str:
        """Its name in a file."""
        return self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is msgspec.NODEFAULT

    @property
    def range(self) -> str:
        """The range of a number, in words; empty if any number is valid."""
        least, most = self.least, self.most
        if self.kind is int and least == 1 and most is None:
            return "positive"
        if least is not None and most is not None and most != FINITE:
            return f"{plain(least)} to {plain(most)}"
        words = [
            f"{plain(least)} or more" if least is not None else "",
            f"above {plain(self.above)}" if self.above is not None else "",
            f"below {plain(self.below)}" if self.below is not None else "",
            "finite" if most == FINITE else "",
        ]
        return " and ".join(filter(None, words))

    @property
    def wanted(self) -> str:
        """The valid values, in words."""
        if self.choices:
            return listed(self.choices)
        if self.range == "positive":
            return f"a positive {_WORDS[self.kind].removeprefix('a ')}"
        text = " ".join(filter(None, (_WORDS[self.kind], self.range)))
        return f"{text}, or a list" if self.many else text

    def holds(self, value: float) -> bool:
        """Return whether a number is in the range."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def shown(self, value: Any) -> str:
        """Format a value as `config show` and the documentation do."""
        if value is None or value in ((), "") or value is msgspec.NODEFAULT:
            return self.unset or "-"
        if self.many:
            return ", ".join(map(str, value))
        return f"{plain(value)} {self.unit}".rstrip()


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    HostPort: "HOST:PORT",
}


def plain(value: Any) -> str:
    """Format a value as TOML does, text without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def listed(words: tuple[str, ...]) -> str:
    """Join words as `a, b or c`."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


@cache
def settings_of(tree: type[msgspec.Struct]) -> Mapping[str, Setting]:
    """Return all settings of a tree by name, in order."""
    found = {}
    for one in _settings(tree):
        assert one.name not in found, f"{one.name} stands twice in {tree.__name__}"
        found[one.name] = one
    return found


def build(tree: type[T], values: Mapping[str, Any]) -> T:
    """Build a tree from values by name, with defaults elsewhere; the values are not checked again."""
    fields = {}
    for field in msgspec.structs.fields(tree):
        if _is_section(field.type):
            fields[field.name] = build(field.type, values)
        elif field.name in values:
            fields[field.name] = values[field.name]
    return tree(**fields)


def values_of(tree: msgspec.Struct) -> dict[str, Any]:
    """Return the values of a tree by name, regardless of sections."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(tree):
        value = getattr(tree, field.name)
        found |= values_of(value) if _is_section(field.type) else {field.name: value}
    return found


def decode(kind: type, value: Any) -> Any:
    """Decode a path or an address from its text, for msgspec.

    Raises:
        ValueError: `value` is not text, or is invalid.
    """
    if issubclass(kind, Path | HostPort) and isinstance(value, str):
        return kind(value)
    raise ValueError(f"{value!r} is no text")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _settings(tree: type[msgspec.Struct]) -> Iterator[Setting]:
    for field in msgspec.structs.fields(tree):
        if _is_section(field.type):
            yield from _settings(field.type)
            continue
        meta = _metadata(field.type)
        kinds = [k for k in _flattened(field.type) if k is not type(None)]
        choices = tuple(k for k in kinds if isinstance(k, str))
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        yield Setting(
            name=field.name,
            section=(tree.__doc__ or "").split("\n")[0].rstrip("."),
            type=field.type,
            kind=str if choices else kinds[-1],
            default=default,
            help=meta.description or "",
            choices=choices,
            many=isinstance(default, tuple),
            table=isinstance(default, dict),
            least=meta.ge,
            above=meta.gt,
            most=meta.le,
            below=meta.lt,
            **(meta.extra or {}),
        )


def _metadata(kind: Any) -> msgspec.Meta:
    """Return the metadata of an annotation: its own, or that of its element type."""
    for one in getattr(kind, "__metadata__", ()):
        if isinstance(one, msgspec.Meta):
            return one
    for inner in get_args(kind):
        found = _metadata(inner)
        if found.description:
            return found
    return msgspec.Meta()


def _flattened(kind: Any) -> Iterator[Any]:
    """Yield the plain types and literal values of an annotation."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _flattened(get_args(kind)[0])
    elif origin is Literal:
        yield from get_args(kind)
    elif origin in (Union, types.UnionType, tuple, dict):
        for inner in get_args(kind):
            if inner is not Ellipsis:
                yield from _flattened(inner)
    else:
        yield kind
