"""The command `watch`: draws the feed of a daemon on any machine. Imports nothing heavy."""

import click

from streamcab.cli.command import Command, stop_on_signals
from streamcab.cli.load import client_keys
from streamcab.cli.options import config_option, endpoint_argument, settings
from streamcab.config.commands import Watch


@click.command(cls=Command)
@endpoint_argument
@settings(Watch)
@config_option
def watch(o: Watch, endpoint: str) -> None:
    """Draw the feed of the daemon at ENDPOINT. Without a terminal, print lines."""
    from streamcab.daemon.session import watch as run

    keys = client_keys(o.key, o.server_key)
    with stop_on_signals() as stop:
        run(endpoint, o.stream, stop, as_json=o.json, every_s=o.every, keys=keys)
