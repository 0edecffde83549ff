"""`classify`, `verify` and `devices`: one answer, one proof, one list. Knows click, and nothing of nets or devices."""

import sys
from pathlib import Path

import click

from streamcab.cli.command import Command, say
from streamcab.cli.load import load_classifier
from streamcab.cli.options import config_option, settings
from streamcab.config.commands import Classify, Verify
from streamcab.errors import ConfigError


@click.command(cls=Command)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@settings(Classify)
@config_option
def classify(o: Classify, files: tuple[Path, ...]) -> None:
    """The answer for whole FILES: the mean over all their voiced intervals.

    FILES are files, folders, globs in quotes, or manifests: CSV, JSON Lines or Parquet with a column `path`.
    """
    from streamcab.cli.bulk import into_table, printed

    words = [*(str(file) for file in files), *o.data]
    if not words:
        raise click.UsageError("Missing argument 'FILES...'.")
    if o.out is None and (o.resume or o.ray):
        raise ConfigError(f"--{'resume' if o.resume else 'ray'} wants --out: where the answers are kept")
    if o.out is not None and o.json:
        raise ConfigError("--json is for standard output; --out answers.jsonl is lines of JSON, too")
    if o.explain is not None:
        from streamcab.cli.explain import explained_files

        failed = explained_files(o, words, o.explain)
    else:
        failed = printed(o, words) if o.out is None else into_table(o, words, o.out)
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
    say(
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
        say(f"{mark} {d.index:3d}  {d.name}  ({d.channels} channels, {d.rate:g} Hz, {d.host_api})")
