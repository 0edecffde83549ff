"""The commands `streamcab bench calls` and `streamcab bench loss`: options in, text or JSON out.

Knows click, and nothing of how anything is measured.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamcab.cli.command import Group
from streamcab.cli.options import backend_option, model_option, precision_option, threads_option

if TYPE_CHECKING:
    from streamcab.bench.calls import Serving
    from streamcab.bench.traffic import Traffic

FIND_FROM = 250


@click.group(cls=Group)
def bench() -> None:
    """Measure how many calls this machine can serve, and how lost packets change the answers."""


@bench.command()
@click.option(
    "--streams",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    help="Simultaneous calls.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(3),
    default=30.0,
    show_default=True,
    help="How long to measure, from the start of the last call.",
)
@click.option("--codec", type=click.Choice(["pcmu", "pcma", "l16"]), default="pcmu", show_default=True)
@click.option(
    "--ptime",
    type=click.Choice(["10", "20", "30", "40"]),
    default="20",
    show_default=True,
    help="Length of a packet in ms.",
)
@click.option(
    "--loss", type=click.FloatRange(0, 90), default=0.0, help="Percentage of packets that are not sent."
)
@click.option("--burst", is_flag=True, help="Lose packets in bursts of five on average.")
@click.option(
    "--reorder",
    type=click.FloatRange(0, 100),
    default=0.0,
    help="Percentage of packets sent one to three packets late.",
)
@click.option(
    "--jitter", type=click.FloatRange(0, 1000), default=0.0, help="Largest random delay of a packet in ms."
)
@click.option(
    "--churn",
    type=click.FloatRange(0),
    default=0.0,
    help="Calls per second that end and are replaced by new ones.",
)
@click.option(
    "--dtx", is_flag=True, help="Silence suppression: pauses without packets, some with comfort noise."
)
@click.option(
    "--mixed", is_flag=True, help="In each call a restart, a hold, a goodbye in its midst or another codec."
)
@click.option(
    "--every",
    type=click.FloatRange(0.025),
    default=0.2,
    show_default=True,
    help="Time between predictions of a call in seconds.",
)
@click.option(
    "--budget-ms",
    type=click.FloatRange(1),
    default=400.0,
    show_default=True,
    help="Largest acceptable 99th percentile of the latency in ms.",
)
@click.option(
    "--workers",
    default="1",
    show_default=True,
    metavar="N|auto",
    help="Processes of the daemon, as `listen --workers`; each may hold all calls.",
)
@click.option("--media", is_flag=True, help="Send WebSocket calls, as Twilio does, instead of RTP.")
@model_option
@backend_option
@precision_option
@threads_option
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="Also record the calls to this folder, as `listen --record` does.",
)
@click.option(
    "--ramp",
    is_flag=True,
    help="From half of --streams to three times as many, and back: what becomes of answers.",
)
@click.option("--find-max", is_flag=True, help="Find the largest number of calls that passes.")
@click.option(
    "--most", type=click.IntRange(1), default=20_000, show_default=True, help="Upper limit of --find-max."
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--verbose", is_flag=True, help="Report progress on standard error every second.")
def calls(**o: Any) -> None:
    """Send calls, by RTP or WebSocket, over the loopback to a daemon, and measure the answers that a subscriber gets.

    Exit codes: 0: passed, that is, nothing was lost, every expected prediction came, and p99 is within the
    budget. 1: failed.
    """
    from streamcab.bench.calls import Serving
    from streamcab.bench.traffic import Traffic
    from streamcab.nn.device import workers_for

    traffic = Traffic(
        streams=o["streams"],
        seconds=o["seconds"],
        codec=o["codec"],
        ptime_ms=int(o["ptime"]),
        loss=o["loss"] / 100,
        burst=o["burst"],
        reorder=o["reorder"] / 100,
        jitter_ms=o["jitter"],
        churn=o["churn"],
        dtx=o["dtx"],
        mixed=o["mixed"],
        media=o["media"],
    )
    words = ["--backend", o["backend"], "--precision", o["precision"]]
    words += ["--model", str(o["model"])] if o["model"] else []
    words += ["--threads", str(o["threads"])] if o["threads"] else []
    words += ["--record", str(o["record"])] if o["record"] else []
    serving = Serving(o["every"], o["budget_ms"], words, workers_for(o["workers"]))
    if o["ramp"]:
        _ramp(traffic, serving, as_json=o["as_json"], verbose=o["verbose"])
    elif o["find_max"]:
        _find_max(traffic, serving, o["most"], o["as_json"])
    elif not _measure(traffic, serving, as_json=o["as_json"], verbose=o["verbose"]):
        raise SystemExit(1)


def _measure(traffic: "Traffic", serving: "Serving", *, as_json: bool, verbose: bool) -> bool:
    from streamcab.bench.calls import measure
    from streamcab.bench.report import text

    report = measure(
        traffic, serving, (lambda line: click.echo(line, err=True)) if verbose else lambda _: None
    )
    click.echo(json.dumps(report.as_dict()) if as_json else text(report))
    return report.holds


def _ramp(traffic: "Traffic", serving: "Serving", *, as_json: bool, verbose: bool) -> None:
    from streamcab.bench import ramp

    found = ramp.measure(
        traffic, serving, (lambda line: click.echo(line, err=True)) if verbose else lambda _: None
    )
    click.echo(json.dumps(found.as_dict()) if as_json else ramp.text(found))


def _find_max(traffic: "Traffic", serving: "Serving", most: int, as_json: bool) -> None:
    from streamcab.bench.calls import measure
    from streamcab.bench.find import find_max
    from streamcab.bench.report import Report, text

    best: list[Report] = []

    def holds(streams: int) -> bool:
        report = measure(replace(traffic, streams=streams), serving)
        best.extend([report] if report.holds else [])
        verdict = "passed" if report.holds else "failed: " + "; ".join(report.failures)
        click.echo(f"{streams:6d} calls: p99 {report.latency_ms.p99:.0f} ms, {verdict}", err=True)
        return report.holds

    found = find_max(holds, min(FIND_FROM, most), most)
    if not found.holds:
        raise click.ClickException("not even one call passes; the reasons are above")
    largest = max(best, key=lambda report: int(report.settings["streams"]))
    if as_json:
        click.echo(json.dumps({"holds": found.holds, "fails": found.fails, "report": largest.as_dict()}))
    else:
        click.echo(text(largest))
        beyond = f", {found.fails} fail" if found.fails else ""
        click.echo(
            f"{found.holds} calls pass{beyond}: streamcab listen --rtp ... --max-streams {found.holds}"
        )


@bench.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of audio files, or a manifest (CSV with path)."
)
@click.option(
    "--clips", type=click.IntRange(1), default=100, show_default=True, help="Largest number of clips."
)
@model_option
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Random seed for the choice of clips and for the losses.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Also plot the table to this .svg file.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def loss(
    data: Path | None, clips: int, model: Path | None, seed: int, out: Path | None, as_json: bool
) -> None:
    """Measure how packet loss and codecs change the answers, on clips, through the RTP receiver and the engine."""
    from streamcab.bench.loss import choose, compare, markdown
    from streamcab.bench.plot import svg
    from streamcab.nn.checkpoint import find, load

    chosen = choose(data, clips, seed)
    rows = compare(load(find(model)), chosen, seed, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps([row.as_dict() for row in rows]))
    else:
        click.echo(markdown(rows, chosen))
    if out is not None:
        out.write_text(svg(rows), encoding="utf-8")
