"""`classify`, `verify` and `devices`: one answer, one proof, one list. Knows click, and nothing of nets or devices."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamcab.cli.command import Command, say
from streamcab.cli.load import gate_of, load_classifier
from streamcab.cli.options import config_option, settings
from streamcab.config.commands import Classify, Verify
from streamcab.errors import ConfigError, StreamcabError
from streamcab.text import as_unicode, printable

if TYPE_CHECKING:
    from streamcab.message import Prediction


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@settings(Classify)
@config_option
def classify(o: Classify, files: tuple[Path, ...]) -> None:
    """The answer for whole FILES: the mean over all their voiced intervals."""
    classifier = load_classifier(o.model, o.compute, o.threads)
    import msgspec

    from streamcab.message import encode
    from streamcab.source.file import samples_of
    from streamcab.source.formats import open_audio
    from streamcab.source.mixer import Mixer
    from streamcab.source.piped import is_pipe

    def answers(file: Path) -> "Iterator[tuple[str, Prediction]]":
        """The name of each channel that is asked for, and its answer."""
        count = 1
        if o.channel == "each":
            if is_pipe(file):
                raise ConfigError(
                    f"{file}: --channel each reads a file twice, and this is a pipe: save it first"
                )
            with open_audio(file) as audio:
                count = audio.channels
        wanted = [o.channel] if count == 1 else [str(number) for number in range(1, count + 1)]
        for one in wanted:
            name = as_unicode(str(file) if count == 1 else f"{file}:{one}")
            with open_audio(file) as audio:
                mixer = Mixer(one, audio.channels, audio.rate)
                pieces = (samples[:, 0] for samples in samples_of(audio, mixer))
                answer = classifier.classify_pieces(pieces, audio.rate, gate=gate_of(o.gate), name=name)
                if notes := [*audio.notes, *mixer.told.values()]:
                    click.echo(printable(f"Warning: {name}: {'; '.join(notes)}"), err=True)
            yield name, msgspec.structs.replace(answer, flaws=[*answer.flaws, *mixer.told])

    failed = 0
    for file in files:
        try:
            for name, answer in answers(file):
                if o.json:
                    click.echo(encode(answer).decode())
                elif answer.top is None:
                    say(f"{name}: no speech")
                else:
                    probs = "  ".join(f"{label} {p:.2f}" for label, p in answer.probs.items())
                    doubt = "  not sure" if answer.sure is False else ""
                    say(f"{name}: {answer.top}  ({probs}; {answer.voiced_s:.1f} s voiced){doubt}")
        except StreamcabError as error:
            # The other files can still be answered.
            click.echo(printable(f"Error: {error}"), err=True)
            failed += 1
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
