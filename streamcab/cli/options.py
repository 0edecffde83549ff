"""Options made from a tree of settings, and the settings file behind `--config`.

Knows click; which settings there are is in `streamcab.config`.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streamcab.cli.command import WORDS
from streamcab.config.address import HostPort
from streamcab.config.setting import Setting, build, settings_of
from streamcab.config.tree import ENDPOINT, Net
from streamcab.errors import ConfigError

if TYPE_CHECKING:
    import msgspec

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound="msgspec.Struct")

FILE = "streamcab.file"
"""Key under which a context remembers the settings file that it read."""


class SettingOption(click.Option):
    """An option made from a setting, which the environment and a settings file can also set."""

    def __init__(self, *args: Any, setting: Setting, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.setting = setting


class AddressType(click.ParamType["HostPort"]):
    """HOST:PORT."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> HostPort:
        try:
            return HostPort(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def settings(tree: type[T]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add options for all settings of `tree`; the command receives them as one `tree`, its first argument."""
    known = settings_of(tree)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*args: Any, **params: Any) -> None:
            given = {name: params.pop(name) for name in known}
            command(*args, build(tree, given), **params)

        for one in reversed(list(known.values())):
            run = setting_option(one)(run)
        return run

    return decorate


def setting_option(one: Setting) -> Callable[[F], F]:
    """Make the option of one setting."""
    names, flag = one.option, one.kind is bool
    if flag and one.default is not False:
        names += f"/--no-{one.key}"
    return click.option(
        names,
        one.name,
        cls=SettingOption,
        setting=one,
        type=None if flag else _click_type(one),
        is_flag=flag,
        multiple=one.many,
        # A default of None would count as a value, so a required setting has no default.
        **({"required": True} if one.required else {"default": one.default}),
        envvar=one.variable,
        metavar=one.metavar or _UNITS.get(one.unit) or None,
        help=one.help,
        show_default=one.unset or True,
    )


_UNITS = {"s": "SECONDS", "ms": "MS", "Hz": "HZ", "MB": "MB", "GB": "GB", "days": "DAYS"}
"""Placeholders for values in the help."""


def _click_type(one: Setting) -> Any:
    if one.choices:
        return click.Choice(one.choices)
    if one.kind is Path:
        return click.Path(path_type=Path, dir_okay=one.path != "file", file_okay=one.path != "folder")
    if one.kind is HostPort:
        return AddressType()
    least, most = (
        (one.least if one.above is None else one.above),
        (one.most if one.below is None else one.below),
    )
    if one.kind in (int, float) and (least is not None or most is not None):
        kind: Any = click.IntRange if one.kind is int else click.FloatRange
        return kind(least, most, min_open=one.above is not None, max_open=one.below is not None)
    return one.kind


def settings_of_command(command: click.Command) -> dict[str, Setting]:
    """Return the settings of a command by name."""
    return {p.setting.name: p.setting for p in command.params if isinstance(p, SettingOption)}


def _load_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        from streamcab.config.layers import read_settings

        known = settings_of_command(ctx.command)
        ctx.meta[FILE] = value
        for name, setting in read_settings(value, known).items():
            # As text, since click checks text.
            given = [str(one) for one in setting] if known[name].many else str(setting)
            ctx.default_map = {**(ctx.default_map or {}), name: given}


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    envvar="STREAMCAB_CONFIG",
    help="TOML file with any of these options.",
)
model_option, compute_option, backend_option, precision_option, threads_option = (
    setting_option(settings_of(Net)[name]) for name in ("model", "compute", "backend", "precision", "threads")
)
endpoint_argument = click.argument("endpoint", default=ENDPOINT)


def read_again(ctx: click.Context, tree: type[T]) -> T:
    """Read the settings of a command again: same arguments and environment, current files.

    Raises:
        ConfigError: They have become invalid.
    """
    try:
        with ctx.command.make_context(ctx.info_name, list(ctx.meta[WORDS]), parent=ctx.parent) as anew:
            return build(tree, anew.params)
    except click.ClickException as error:
        raise ConfigError(error.format_message()) from None
