"""The command `watch`: the feed of a daemon, here or elsewhere. Imports nothing heavy."""

from pathlib import Path

import click

from streamcab.cli.options import (
    Command,
    client_keys,
    config_option,
    endpoint_argument,
    json_option,
    key_options,
    option,
    stop_on_signals,
)


@click.command(cls=Command)
@endpoint_argument
@option("--stream", "streams", multiple=True, help="Only this stream; repeatable.")
@option(
    "--every",
    type=click.FloatRange(0.0, 3600),
    default=1.0,
    help="Seconds between lines, where no terminal is.",
)
@key_options
@json_option
@config_option
def watch(
    endpoint: str,
    streams: tuple[str, ...],
    every: float,
    key: Path | None,
    server_key: Path | None,
    as_json: bool,
) -> None:
    """Draw the feed of a daemon at ENDPOINT, on any machine. Without a terminal: lines."""
    from streamcab.daemon.session import watch as run

    keys = client_keys(key, server_key)
    with stop_on_signals() as stop:
        run(endpoint, list(streams), stop, as_json=as_json, every_s=every, keys=keys)
