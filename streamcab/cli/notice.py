"""What a terminal shows while a command loads: one line on standard error, gone before anything else is said.

Only a terminal is told; a service, a pipe and a log see nothing. Knows nothing of what is loaded.
"""

import os
import sys

import click

ERASE = "\r\033[K"

_shown = False


def loading() -> None:
    """Say at once that it will take a moment. To be called before anything heavy is imported."""
    global _shown
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        click.echo("loading model ...", nl=False, err=True)
        _shown = True


def loaded() -> None:
    """Take the line away again, if it is there."""
    global _shown
    if _shown:
        click.echo(ERASE, nl=False, err=True)
        _shown = False
