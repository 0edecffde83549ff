"""The commands `streamcab config ...`: which value each setting has and where it came from; what is wrong with a file.

Knows click, and nothing of what a setting means.
"""

import json
import sys
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from streamcab.cli.command import Command, Group
from streamcab.cli.options import FILE, SettingOption, settings_of_command
from streamcab.cli.train import installed
from streamcab.config.commands import TREES
from streamcab.config.layers import check_settings, read_toml
from streamcab.config.setting import Setting, settings_of
from streamcab.errors import ConfigError

WITH_FILES = ("listen", "watch", "demo", "classify", "verify")
"""Commands that take --config."""


@click.group(cls=Group)
def config() -> None:
    """Settings: what holds and why, and whether a file is right. docs/reference/configuration.md lists them all."""


@config.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND] [OPTIONS]...")
@click.pass_context
def show(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """Each setting of COMMAND (listen), its value, and where that came from.

    OPTIONS are those of the command, taken as it would take them, as are the environment and the file of
    --config. Nothing is started.

    \b
    streamcab config show --config mic.toml
    streamcab config show watch --every 5
    """
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    name, rest = (words[0], words[1:]) if words and not words[0].startswith("-") else ("listen", words)
    command = group.commands.get(name)
    if command is None or not settings_of_command(command):
        there = ", ".join(n for n, c in group.commands.items() if settings_of_command(c))
        raise click.UsageError(f"{name!r} is no command with settings; there are {there}.")
    # Files and endpoints are no settings: they may be there or not.
    bare = copy(command)
    bare.params = [p for p in command.params if isinstance(p, click.Option)]
    bare.context_settings = {**command.context_settings, "allow_extra_args": True}
    with bare.make_context(name, list(rest), parent=ctx.find_root()) as asked:
        rows = list(_rows(asked))
    if as_json:
        for one, value, source in rows:
            shown = None if value is None else [str(v) for v in value] if one.many else _as_json(value)
            click.echo(json.dumps({"name": one.key, "value": shown, "unit": one.unit, "from": source}))
        return
    width = max(len(one.key) for one, _, _ in rows)
    room = max(len(one.shown(value)) for one, value, _ in rows)
    for one, value, source in rows:
        click.echo(f"{one.key:{width}}  {one.shown(value):{room}}  {source}")


@config.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--command",
    type=click.Choice(WITH_FILES),
    default="listen",
    show_default=True,
    help="Whose settings they are.",
)
def check(file: Path, command: str) -> None:
    """Whether FILE is right: a file for --config, or a recipe of a training. Says all that is wrong with it.

    Names, types and ranges are checked, not whether a device, an address or another file is there.

    Exit codes: 0 all is right; 2 something is wrong.
    """
    table = read_toml(file, "configuration")
    if "classes" in table or (table and all(isinstance(value, dict) for value in table.values())):
        click.echo(f"{file}: a recipe for {_checked_recipe(file, table)}; nothing is wrong")
        return
    values, wrong = check_settings(file, settings_of(TREES[command]))
    for line in wrong:
        click.echo(f"Error: {line}", err=True)
    if wrong:
        sys.exit(ConfigError.exit_code)
    count = f"{len(values)} setting{'s' * (len(values) != 1)}"
    click.echo(f"{file}: {count} of streamcab {command}; nothing is wrong")


def _rows(ctx: click.Context) -> "Iterator[tuple[Setting, Any, str]]":
    """Setting, value and origin of each setting of a command that was parsed."""
    for param in ctx.command.params:
        if isinstance(param, SettingOption):
            one = param.setting
            origin = {
                ParameterSource.COMMANDLINE: "command line",
                ParameterSource.ENVIRONMENT: one.variable,
                ParameterSource.DEFAULT_MAP: str(ctx.meta.get(FILE, "")),
            }.get(ctx.get_parameter_source(one.name) or ParameterSource.DEFAULT, "default")
            yield one, ctx.params[one.name], origin


def _as_json(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else str(value)


def _checked_recipe(file: Path, table: dict[str, Any]) -> str:
    """Whose recipe it is: tables are no settings of a command. ConfigError for the first thing that is wrong."""
    with installed():
        from streamcab_train.context_keys import read_context
        from streamcab_train.recipe import read_recipe

    if "classes" in table:  # a model with a trunk
        read_context(file)
        return "streamcab_train.context"
    read_recipe(file)
    return "streamcab train"
