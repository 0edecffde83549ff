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
    """Measure: how many calls this machine carries, and what lost packets do to the answers."""


@bench.command()
@click.option(
    "--streams", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Calls at a time."
)
@click.option(
    "--seconds", type=click.FloatRange(3), default=30.0, show_default=True, help="After the last has begun."
)
@click.option("--codec", type=click.Choice(["pcmu", "pcma", "l16"]), default="pcmu", show_default=True)
@click.option(
    "--ptime",
    type=click.Choice(["10", "20", "30", "40"]),
    default="20",
    show_default=True,
    help="ms a packet.",
)
@click.option(
    "--loss", type=click.FloatRange(0, 90), default=0.0, help="Percent of packets that are not sent."
)
@click.option("--burst", is_flag=True, help="Lose them in bursts, of five on average.")
@click.option(
    "--reorder", type=click.FloatRange(0, 100), default=0.0, help="Percent sent one to three packets late."
)
@click.option(
    "--jitter", type=click.FloatRange(0, 1000), default=0.0, help="ms by which any packet may be late."
)
@click.option(
    "--churn", type=click.FloatRange(0), default=0.0, help="Calls a second that end, and others that begin."
)
@click.option(
    "--every", type=click.FloatRange(0.025), default=0.2, show_default=True, help="s between predictions."
)
@click.option(
    "--budget-ms", type=click.FloatRange(1), default=400.0, show_default=True, help="What p99 may be."
)
@model_option
@backend_option
@precision_option
@threads_option
@click.option("--record", type=click.Path(path_type=Path), help="For `listen`: write the calls here, too.")
@click.option("--find-max", is_flag=True, help="Search the largest --streams that holds.")
@click.option(
    "--most", type=click.IntRange(1), default=20_000, show_default=True, help="Where --find-max ends."
)
@click.option("--json", "as_json", is_flag=True, help="All numbers, as JSON.")
@click.option("--verbose", is_flag=True, help="Say each second how it goes, on stderr.")
def calls(**o: Any) -> None:
    """Real RTP calls over the loopback into a real daemon, heard by a real subscriber.

    Exit code 0 when it holds: nothing lost, every prediction asked for, and p99 within the budget; else 1.
    """
    from streamcab.bench.calls import Serving
    from streamcab.bench.traffic import Traffic

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
    )
    words = ["--backend", o["backend"], "--precision", o["precision"]]
    words += ["--model", str(o["model"])] if o["model"] else []
    words += ["--threads", str(o["threads"])] if o["threads"] else []
    words += ["--record", str(o["record"])] if o["record"] else []
    serving = Serving(o["every"], o["budget_ms"], words)
    if o["find_max"]:
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


def _find_max(traffic: "Traffic", serving: "Serving", most: int, as_json: bool) -> None:
    from streamcab.bench.calls import measure
    from streamcab.bench.find import find_max
    from streamcab.bench.report import Report, text

    best: list[Report] = []

    def holds(streams: int) -> bool:
        report = measure(replace(traffic, streams=streams), serving)
        best.extend([report] if report.holds else [])
        verdict = "holds" if report.holds else "does not hold: " + "; ".join(report.failures)
        click.echo(f"{streams:6d} calls: p99 {report.latency_ms.p99:.0f} ms, {verdict}", err=True)
        return report.holds

    found = find_max(holds, min(FIND_FROM, most), most)
    if not found.holds:
        raise click.ClickException("not even one call holds; see above why")
    largest = max(best, key=lambda report: int(report.settings["streams"]))
    if as_json:
        click.echo(json.dumps({"holds": found.holds, "fails": found.fails, "report": largest.as_dict()}))
    else:
        click.echo(text(largest))
        beyond = f"; {found.fails} do not" if found.fails else ""
        click.echo(
            f"{found.holds} calls hold{beyond}: streamcab listen --rtp ... --max-streams {found.holds}"
        )


@bench.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of audio files, or a manifest (CSV with path)."
)
@click.option(
    "--clips", type=click.IntRange(1), default=100, show_default=True, help="At most so many of them."
)
@model_option
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the choice of clips, and of the losses."
)
@click.option("--out", type=click.Path(path_type=Path), help="Also draw the table here, as an .svg file.")
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def loss(
    data: Path | None, clips: int, model: Path | None, seed: int, out: Path | None, as_json: bool
) -> None:
    """What lost packets and codecs do to the answers: clips through the real intake and engine, not in real time."""
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
