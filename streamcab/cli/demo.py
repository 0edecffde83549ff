"""The command `demo`: plays clips as live calls. Knows click; `session.py` plays and draws."""

import click

from streamcab.cli.command import Command, stop_on_signals
from streamcab.cli.load import backend_maker, load_checkpoint
from streamcab.cli.notice import loading
from streamcab.cli.options import config_option, settings
from streamcab.config.commands import Demo


@click.command(cls=Command)
@settings(Demo)
@config_option
def demo(o: Demo) -> None:
    """Play short clips of synthetic speech as live calls, and show their classification."""
    loading()
    from streamcab.daemon.session import demo as run

    checkpoint, device = load_checkpoint(o.model, o.compute)
    backend = backend_maker(checkpoint, device, o.backend, threads=o.threads)
    with stop_on_signals() as stop:
        run(checkpoint, backend, o.clips, o.endpoint, stop, view=o.view)
