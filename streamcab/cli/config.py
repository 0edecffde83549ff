"""The commands `streamcab config ...`: the value and origin of each setting, and the errors in a settings file.

Knows click, and nothing of the meaning of a setting.
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
from streamcab.text import plural

WITH_FILES = ("listen", "watch", "demo", "classify", "verify")
"""Commands that take --config."""


@click.group(cls=Group)
def config() -> None:
    """Show settings and check settings files. docs/reference/configuration.md lists all settings."""


@config.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND] [OPTIONS]...")
@click.pass_context
def show(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """Show each setting of COMMAND (default: listen), its value, and where the value came from.

    OPTIONS are options of that command. The environment and the file of --config are applied too. Nothing is
    started.

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
        raise click.UsageError(f"{name!r} is not a command with settings; choose from {there}.")
    # Arguments, such as files and endpoints, are not settings and may be omitted.
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
    help="Command that the settings are for.",
)
def check(file: Path, command: str) -> None:
    """Check FILE, a settings file for --config or a training recipe, and print every error in it.

    Names, types and ranges are checked. Devices, addresses and other files are not.

    Exit codes: 0: no errors. 2: errors.
    """
    table = read_toml(file, "configuration")
    if "classes" in table or (table and all(isinstance(value, dict) for value in table.values())):
        click.echo(f"{file}: a recipe for {_checked_recipe(file, table)}; no errors")
        return
    values, wrong = check_settings(file, settings_of(TREES[command]))
    for line in wrong:
        click.echo(f"Error: {line}", err=True)
    if wrong:
        sys.exit(ConfigError.exit_code)
    count = plural(len(values), "setting")
    click.echo(f"{file}: {count} of streamcab {command}; no errors")


def _rows(ctx: click.Context) -> "Iterator[tuple[Setting, Any, str]]":
    """Yield setting, value and origin of each setting of a command that was parsed."""
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
    """Return the command that a recipe is for; raise ConfigError for its first error."""
    with installed():
        from streamcab_train.context_keys import read_context
        from streamcab_train.recipe import read_recipe

    if "classes" in table:  # a model with a trunk
        read_context(file)
        return "streamcab_train.context"
    read_recipe(file)
    return "streamcab train"
