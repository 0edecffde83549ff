"""A line on standard error while a command loads, removed before any other output.

Only a terminal shows it; services, pipes and logs do not. Knows nothing of models.
"""

import os
import sys

import click

ERASE = "\r\033[K"

_shown = False


def loading() -> None:
    """Announce the wait. Call it before anything heavy is imported."""
    global _shown
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        click.echo("loading model ...", nl=False, err=True)
        _shown = True


def loaded() -> None:
    """Remove the line if it is shown."""
    global _shown
    if _shown:
        click.echo(ERASE, nl=False, err=True)
        _shown = False
