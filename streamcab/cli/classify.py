"""`classify`, `verify` and `devices`: one answer, one proof, one list. Knows click, and nothing of nets or devices."""

import sys
from pathlib import Path

import click

from streamcab.cli.options import Command, config_option, gate_of, load_classifier, settings
from streamcab.config.commands import Classify, Verify
from streamcab.errors import StreamcabError


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@settings(Classify)
@config_option
def classify(o: Classify, files: tuple[Path, ...]) -> None:
    """The answer for whole FILES: the mean over all their voiced intervals."""
    classifier = load_classifier(o.model, o.compute, o.threads)
    from streamcab.message import encode
    from streamcab.source.file import read_audio

    failed = 0
    for file in files:
        try:
            samples, rate = read_audio(file, o.channel)
            answer = classifier.classify(samples, rate, gate=gate_of(o.gate), name=str(file))
        except StreamcabError as error:
            # The other files can still be answered.
            click.echo(f"Error: {error}", err=True)
            failed += 1
            continue
        if o.json:
            click.echo(encode(answer).decode())
        elif answer.top is None:
            click.echo(f"{file}: no speech")
        else:
            probs = "  ".join(f"{label} {p:.2f}" for label, p in answer.probs.items())
            doubt = "  not sure" if answer.sure is False else ""
            click.echo(f"{file}: {answer.top}  ({probs}; {answer.voiced_s:.1f} s voiced){doubt}")
    if failed:
        sys.exit(1)


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@settings(Verify)
@config_option
def verify(o: Verify, file: Path) -> None:
    """Show on FILE that the streamed answer is the offline one. Exit code 1 if any probability differs by 1e-5."""
    classifier = load_classifier(o.model, o.compute, o.threads)
    from streamcab.source.file import read_audio
    from streamcab.verify import TOLERANCE
    from streamcab.verify import verify as compare

    samples, rate = read_audio(file, o.channel)
    verdict = compare(classifier, samples, rate, o.seed)
    click.echo(
        f"{file}: {verdict.intervals} intervals ({verdict.voiced} voiced), streamed in {verdict.chunks} random chunks; "
        f"largest difference of a probability from the offline answer: {verdict.difference:.1e} "
        f"({'equal' if verdict.equal else 'NOT EQUAL'} within {TOLERANCE:.0e})"
    )
    if not verdict.equal:
        sys.exit(1)


@click.command(cls=Command)
def devices() -> None:
    """The microphones that `listen --device` can mean."""
    from streamcab.source.microphone import list_devices

    found = list_devices()
    if not found:
        click.echo("No microphone found. If one is plugged in: is this user in the group `audio`?", err=True)
        sys.exit(1)
    for d in found:
        mark = "*" if d.default else " "
        click.echo(f"{mark} {d.index:3d}  {d.name}  ({d.channels} channels, {d.rate:g} Hz, {d.host_api})")
