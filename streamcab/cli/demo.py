"""The command `demo`: bundled clips, or a folder of them, as live calls. Knows click; `session.py` plays and draws."""

from pathlib import Path

import click

from streamcab.cli.notice import loading
from streamcab.cli.options import (
    Command,
    backend_maker,
    backend_option,
    compute_option,
    config_option,
    load_checkpoint,
    model_option,
    option,
    stop_on_signals,
    threads_option,
)


@click.command(cls=Command)
@model_option
@compute_option
@backend_option
@threads_option
@option(
    "--clips",
    type=click.Path(path_type=Path),
    help="Folder of audio files to play; without it the bundled ones.",
)
@option("--endpoint", default="tcp://127.0.0.1:*", help="Where the demo publishes its feed.")
@option("--view/--no-view", default=None, help="Draw the feed; without it: when the output is a terminal.")
@config_option
def demo(
    model: Path | None,
    compute: str,
    backend: str,
    threads: int | None,
    clips: Path | None,
    endpoint: str,
    view: bool | None,
) -> None:
    """Play short clips of synthetic speech as live calls, and watch them being classified."""
    loading()
    from streamcab.daemon.session import demo as run

    checkpoint, device = load_checkpoint(model, compute)
    with stop_on_signals() as stop:
        run(
            checkpoint,
            backend_maker(checkpoint, device, backend, threads=threads),
            clips,
            endpoint,
            stop,
            view=view,
        )
