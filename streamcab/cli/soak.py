"""`soak`: a day of the daemon in minutes. Knows click, and nothing of how it is simulated or assessed."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import click

from streamcab.cli.command import Command
from streamcab.cli.load import backend_maker, load_checkpoint
from streamcab.cli.options import backend_option, model_option


@click.command(cls=Command)
@click.option(
    "--hours", type=click.FloatRange(0.01), default=24.0, show_default=True, help="Simulated hours."
)
@click.option(
    "--calls", type=click.IntRange(1, 900), default=3, show_default=True, help="Simultaneous calls."
)
@click.option(
    "--period",
    type=click.FloatRange(120),
    default=3600.0,
    show_default=True,
    help="Seconds after which the audio repeats, a multiple of 120.",
)
@click.option(
    "--most-growth",
    type=click.FloatRange(0),
    default=8.0,
    show_default=True,
    help="Largest acceptable growth of memory in MB, from its slope.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes, as `listen --workers`; from 2 on without a microphone, and one of them is killed.",
)
@model_option
@backend_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def soak(
    hours: float,
    calls: int,
    period: float,
    most_growth: float,
    workers: int,
    model: Path | None,
    backend: str,
    as_json: bool,
) -> None:
    """Run the daemon for simulated hours in minutes, with a microphone and with calls that come and go.

    Exit codes: 0: memory does not grow, and the last period has the same answers as the first. 1: otherwise.
    """
    from streamcab.soak.pool import rehearse_pool
    from streamcab.soak.rehearsal import rehearse
    from streamcab.soak.report import text

    # Thousands of calls would fill the log.
    logging.getLogger("streamcab").setLevel(logging.ERROR)

    def say(line: str) -> None:
        click.echo(line, err=True)

    if workers > 1:
        options: dict[str, object] = {"backend": backend, "compute": "cpu", "log_level": "error"}
        report = rehearse_pool(
            options | ({"model": model} if model else {}),
            workers=workers,
            hours=hours,
            calls=calls,
            period_s=period,
            most_growth_mb=most_growth,
            say=say,
        )
    else:
        checkpoint, device = load_checkpoint(model, "cpu")
        report = rehearse(
            checkpoint,
            backend_maker(checkpoint, device, backend),
            hours=hours,
            calls=calls,
            period_s=period,
            most_growth_mb=most_growth,
            say=say,
        )
    click.echo(json.dumps(asdict(report)) if as_json else text(report))
    if report.failures:
        raise SystemExit(1)
