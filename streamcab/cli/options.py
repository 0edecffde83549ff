"""What the commands share: how a failure becomes one line, options made of a tree of settings, and what several
commands make of them.

Knows click; nothing of what a command does, nor of which settings there are: that is in `streamcab.config`.
"""

import errno
import io
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streamcab.cli.notice import loaded, loading
from streamcab.config.setting import HostPort, Setting, build, settings_of
from streamcab.config.tree import ENDPOINT, Net
from streamcab.errors import ConfigError, StreamcabError
from streamcab.extras import line_for, missing
from streamcab.text import printable, printable_lines

if TYPE_CHECKING:
    import msgspec

    from streamcab.classifier import Classifier
    from streamcab.feed.curve import ClientKeys
    from streamcab.nn.backend import Backend
    from streamcab.nn.checkpoint import Checkpoint

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound="msgspec.Struct")

OTHER_VARIABLES = {"config", "corpus"}
"""Known in the environment, and no setting of a tree: where a file is, and what the tests read."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why an output cannot be written."""
WORDS = "streamcab.words"
"""Under which a context remembers the words of its command line."""
FILE = "streamcab.file"
"""Under which it remembers the file of settings that it read."""


class Failure(click.ClickException):
    """An error of our tree, as click prints it and ends with its exit code."""

    def __init__(self, error: StreamcabError) -> None:
        super().__init__(printable(str(error)))
        self.exit_code: int = error.exit_code  # type: ignore[misc]


class Command(click.Command):
    """A command whose failures are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; failures of our tree become click's, and a reader that went away the end."""
        from streamcab.config.commands import known_names
        from streamcab.config.layers import check_environment

        try:
            check_environment(os.environ, known_names() | OTHER_VARIABLES)
            return super().invoke(ctx)
        except StreamcabError as error:
            raise Failure(error) from error
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if line_for(package) is None:
                raise
            raise Failure(missing(package, ctx.command_path)) from error
        except BrokenPipeError:
            # The reader of our output went away: nothing to say, and nobody to say it to.
            forget_stdout()
            ctx.exit(0)
        finally:
            loaded()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click, remembering the words for `read_again`, and refusing NaN."""
        ctx.meta[WORDS] = tuple(args)
        rest = super().parse_args(ctx, args)
        for param in self.get_params(ctx):
            value = ctx.params.get(param.name or "")
            if isinstance(value, float) and math.isnan(value):  # which is in every range
                raise click.BadParameter("nan is no number.", ctx, param)
        return rest

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click; a file of settings that cannot be read is a failure like any other."""
        try:
            return super().make_context(*args, **kwargs)
        except StreamcabError as error:
            raise Failure(error) from error


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type

    def _run(self, *args: Any, **extra: Any) -> Any:
        plain: Callable[..., Any] = super().main
        return plain(*args, standalone_mode=False, **extra)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As click; what is written fits the terminal, and what cannot be written is one line and code 1."""
        if not standalone_mode:
            return self._run(*args, **extra)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A letter that the terminal has not, or a byte that is none.
                stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
        try:
            result = self._run(*args, **extra)
            code = result if isinstance(result, int) else 0
            sys.stdout.flush()
        except click.ClickException as error:
            said = io.StringIO()
            error.show(file=said)
            sys.stderr.write(printable_lines(said.getvalue()))
            code = error.exit_code
        except click.Abort:
            click.echo("Aborted!", err=True)
            code = 1
        except BrokenPipeError:
            code = 1
            forget_stdout()
        except OSError as error:
            if error.filename is not None or error.errno not in FULL:
                raise
            forget_stdout()
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            code = 1
        sys.exit(code)


def forget_stdout() -> None:
    """Nobody hears us any more: what the interpreter still holds for standard output goes nowhere."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own flush


def say(text: str) -> None:
    """Lines for people on standard output, whatever names are in them."""
    click.echo(printable_lines(text))


class SettingOption(click.Option):
    """An option made of a setting, which the environment and a file can give too."""

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
    """Options for all settings of `tree`, handed to the command as one such tree, its first argument."""
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
    """The option of one setting."""
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
        # A default of None would count as a value: whoever must say it has none.
        **({"required": True} if one.required else {"default": one.default}),
        envvar=one.variable,
        metavar=one.metavar or _UNITS.get(one.unit) or None,
        help=one.help,
        show_default=one.unset or True,
    )


_UNITS = {"s": "SECONDS", "ms": "MS", "Hz": "HZ", "MB": "MB", "GB": "GB", "days": "DAYS"}
"""What stands for a value in the help."""


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
    """The settings that a command has options for, by name."""
    return {p.setting.name: p.setting for p in command.params if isinstance(p, SettingOption)}


def _load_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        from streamcab.config.layers import read_settings

        known = settings_of_command(ctx.command)
        ctx.meta[FILE] = value
        for name, setting in read_settings(value, known).items():
            # As text, which is what click checks.
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


def client_keys(key: Path | None, server_key: Path | None) -> "ClientKeys | None":
    """What a subscriber shows a feed with keys; None for one without. ConfigError when a file holds no key."""
    from streamcab.feed.curve import ClientKeys

    if (key is None) != (server_key is None):
        raise click.UsageError("--key and --server-key go together: yours, and that of the feed.")
    return ClientKeys.load(key, server_key) if key and server_key else None


def gate_of(word: str | None) -> bool | None:
    """What `--gate` says; None: as the checkpoint has it."""
    return None if word is None else word == "on"


def load_checkpoint(model: Path | None, compute: str) -> "tuple[Checkpoint, str]":
    """The checkpoint, the bundled one without `model`, and the device. CheckpointError, ConfigError."""
    from streamcab.nn import checkpoint
    from streamcab.nn.device import device_for

    found = checkpoint.load(checkpoint.find(model)), device_for(compute)
    loaded()
    return found


def backend_maker(
    checkpoint: "Checkpoint", device: str, name: str, precision: str = "f32", threads: int | None = None
) -> "Callable[[int], Backend]":
    """What makes the backend, once the number of slots is known."""
    from streamcab.nn.backend import make_backend
    from streamcab.nn.device import threads_for_many
    from streamcab.ops.cache import openvino_cache

    _limit_torch(name, device, threads)
    many, cache = threads or threads_for_many(), openvino_cache()
    return lambda slots: make_backend(name, checkpoint.net, slots, device, precision, many, cache, wait=False)


def load_classifier(model: Path | None, compute: str, threads: int | None) -> "Classifier":
    """As `load_checkpoint`, ready to answer."""
    loading()
    from streamcab.classifier import Classifier

    checkpoint, device = load_checkpoint(model, compute)
    _limit_torch("auto", device, threads)
    return Classifier(checkpoint, device, threads=threads or 1)


def _limit_torch(backend: str, device: str, threads: int | None) -> None:
    """Where torch is what computes: so many threads, 1 unless the user says."""
    from streamcab.nn.backend import resolved

    if resolved(backend, device) == "torch":
        import torch

        torch.set_num_threads(threads or 1)


def read_again(ctx: click.Context, tree: type[T]) -> T:
    """The settings of a command as they are now: from the same words and environment, its files read anew.

    ConfigError when they are wrong by now.
    """
    try:
        with ctx.command.make_context(ctx.info_name, list(ctx.meta[WORDS]), parent=ctx.parent) as anew:
            return build(tree, anew.params)
    except click.ClickException as error:
        raise ConfigError(error.format_message()) from None


@contextmanager
def stop_on_signals(again: threading.Event | None = None) -> "Iterator[threading.Event]":
    """An event that SIGINT and SIGTERM set; what runs returns by itself then, and the exit code is 0.

    SIGHUP is the end too where a terminal can hang up; else it sets `again`; nohup is respected.
    """
    log = logging.getLogger("streamcab")
    stop = threading.Event()
    terminal = any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))

    def hang_up(*_: object) -> None:
        if terminal:
            stop.set()
        elif again is not None:
            again.set()
        else:
            log.warning("SIGHUP: this command does not reload settings; restart it to apply them")

    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hang_up)
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
