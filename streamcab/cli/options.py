"""What the commands share: how a failure becomes one line, where options come from, the options themselves, and what
several commands make of them.

Knows click; nothing of what a command does.
"""

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streamcab.cli.notice import loaded, loading
from streamcab.errors import ConfigError, StreamcabError
from streamcab.extras import line_for, missing

if TYPE_CHECKING:
    from streamcab.classifier import Classifier
    from streamcab.feed.curve import ClientKeys
    from streamcab.nn.backend import Backend
    from streamcab.nn.checkpoint import Checkpoint

F = TypeVar("F", bound=Callable[..., Any])

# Read by the tests and the shell, not by an option.
OTHER_VARIABLES = {"corpus"}

WORDS = "streamcab.words"
"""Under which a context remembers the words of its command line."""


class Failure(click.ClickException):
    """An error of our tree, as click prints it and ends with its exit code."""

    def __init__(self, error: StreamcabError) -> None:
        super().__init__(str(error))
        self.exit_code: int = error.exit_code  # type: ignore[misc]


class Command(click.Command):
    """A command whose failures are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; failures of our tree become click's, and a reader that went away the end."""
        from streamcab.config import check_environment

        try:
            check_environment(os.environ, _option_names(ctx.find_root().command) | OTHER_VARIABLES)
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
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own flush
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


def _spelled(param: click.Parameter) -> str:
    """The name of an option as users write it, dashes as underscores."""
    long = next((o for o in param.opts if o.startswith("--")), param.name or "")
    return long.lstrip("-").replace("-", "_")


def _option_names(command: click.Command) -> set[str]:
    """The options of a command and of all below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return {_spelled(p) for p in command.params}.union(*map(_option_names, below))


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """A click option that the environment can set too."""
    long = next(n for n in names if n.startswith("--")).split("/")[0]
    variable = "STREAMCAB_" + long.lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_default=True, **kwargs)


def _load_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        from streamcab.config import read_settings

        params = {_spelled(p): p for p in ctx.command.params if p.name != "config"}
        for key, setting in read_settings(value, params).items():
            p = params[key]
            multiple = isinstance(p, click.Option) and p.multiple
            if isinstance(setting, list) and not multiple:
                raise ConfigError(f"{value}: {key} is a list; it takes one value")
            # As text, which is what click checks; one device or file need not be a list.
            texts = [str(one) for one in (setting if isinstance(setting, list) else [setting])]
            ctx.default_map = {**(ctx.default_map or {}), p.name: texts if multiple else texts[0]}


config_option = option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file with any of these options.",
)
model_option = option(
    "--model", type=click.Path(path_type=Path), help="Checkpoint; without it the bundled model."
)
compute_option = option("--compute", default="auto", help="auto, cpu, cuda or cuda:N.")
backend_option = option(
    "--backend",
    type=click.Choice(["auto", "torch", "openvino"]),
    default="auto",
    help="What the net runs on; auto: openvino where it is installed and the device is a CPU.",
)
precision_option = option(
    "--precision", type=click.Choice(["f32", "bf16"]), default="f32", help="bf16 is quicker and rounds more."
)
gate_option = option(
    "--gate",
    type=click.Choice(["on", "off"]),
    help="Whether intervals without speech are left out; without it as the model was trained. off: as in the paper.",
)
channel_option = option("--channel", default="mix", help="mix, left, right, or a number from 1 on.")
threads_option = option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of the net. [openvino: 2 where there are 2 cores; torch: 1]",
)
json_option = option("--json", "as_json", is_flag=True, help="JSON, one object a line.")
endpoint_argument = click.argument("endpoint", default="tcp://127.0.0.1:5557")


def key_options(command: F) -> F:
    """`--key` and `--server-key`, for a feed with keys; `client_keys` makes keys of them."""
    path = click.Path(path_type=Path)
    command = option("--server-key", type=path, help="Public key of that feed, server.key.")(command)
    return option("--key", type=path, help="Your secret CURVE key, NAME.key_secret, for a feed with keys.")(
        command
    )


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

    found = checkpoint.load(model or checkpoint.bundled()), device_for(compute)
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


def read_again(ctx: click.Context) -> dict[str, Any]:
    """The parameters of a command as they are now: from the same words and environment, its files read anew.

    ConfigError when they are wrong by now.
    """
    try:
        with ctx.command.make_context(ctx.info_name, list(ctx.meta[WORDS]), parent=ctx.parent) as anew:
            return dict(anew.params)
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
            log.warning("SIGHUP: this command reads nothing again; restart it to apply settings")

    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hang_up)
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
