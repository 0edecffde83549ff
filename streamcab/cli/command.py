"""The base of every command: failures become one line and an exit code, and signals end it cleanly.

Knows click; nothing of a command's work or settings.
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
from typing import Any

import click

from streamcab.cli.notice import loaded
from streamcab.errors import StreamcabError
from streamcab.extras import line_for, missing
from streamcab.text import printable, printable_lines

OTHER_VARIABLES = {"config", "corpus"}
"""Known environment variables that are not settings: the file of settings, and the corpus of the tests."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Reasons why the output cannot be written."""
WORDS = "streamcab.words"
"""Key under which a context remembers the arguments of its command line."""


class Failure(click.ClickException):
    """A StreamcabError as click prints it, with its exit code."""

    def __init__(self, error: StreamcabError) -> None:
        super().__init__(printable(str(error)))
        self.exit_code: int = error.exit_code  # type: ignore[misc]


class Command(click.Command):
    """A command that reports a failure in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a StreamcabError becomes a click error, and a closed pipe ends the command."""
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
            # The reader of the output is gone, so there is no way to report it.
            forget_stdout()
            ctx.exit(0)
        finally:
            loaded()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but keep the arguments for `read_again`, and refuse NaN."""
        ctx.meta[WORDS] = tuple(args)
        rest = super().parse_args(ctx, args)
        for param in self.get_params(ctx):
            value = ctx.params.get(param.name or "")
            if isinstance(value, float) and math.isnan(value):  # which is in every range
                raise click.BadParameter("nan is not a number.", ctx, param)
        return rest

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Do as click does, but report an unreadable settings file like any other failure."""
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
        """Do as click does, but fit output to the terminal, and report failed output in one line, with exit code 1."""
        if not standalone_mode:
            return self._run(*args, **extra)
        _reopen_closed()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A character that the terminal lacks, or an invalid byte.
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
            click.echo(f"Error: cannot write the output: {error.strerror}", err=True)
            code = 1
        sys.exit(code)


def _reopen_closed() -> None:
    """Connect standard streams that the caller has closed (`>&-`) to nothing: else a socket or a database takes their
    number, and is written to."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process


def forget_stdout() -> None:
    """Discard the buffered output after its reader has gone."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own flush


def say(text: str) -> None:
    """Print lines on standard output, with names in them made printable."""
    click.echo(printable_lines(text))


@contextmanager
def stop_on_signals(again: threading.Event | None = None) -> "Iterator[threading.Event]":
    """Yield an event that SIGINT and SIGTERM set. The command then returns by itself, with exit code 0.

    SIGHUP sets it too if a terminal is attached; otherwise it sets `again`. nohup is respected.
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
