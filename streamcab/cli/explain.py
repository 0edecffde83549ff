"""`classify --explain`: an answer for each file, and a folder of explanations. Knows nothing of nets or of audio."""

from pathlib import Path
from typing import TYPE_CHECKING

from streamcab.cli.bulk import print_row, say_doubles
from streamcab.cli.load import gate_of, load_classifier
from streamcab.config.commands import Classify
from streamcab.errors import ConfigError, StreamcabError

if TYPE_CHECKING:
    from streamcab.bulk.listing import Entry
    from streamcab.bulk.row import Row
    from streamcab.classifier import Classifier

ALONE = ("out", "segments", "ray", "resume")
"""Settings that go with rows of a table."""


def explained_files(o: Classify, words: list[str], folder: Path) -> int:
    """Answers on standard output, files in a folder; how many files have none."""
    _check(o)
    from streamcab.bulk.listing import listed
    from streamcab.explain.files import names

    listing = listed(words)
    say_doubles(listing)
    classifier = load_classifier(o.model, o.compute, o.threads)
    failed = 0
    named = names([entry.path for entry in listing.entries])
    for entry, name in zip(listing.entries, named, strict=True):
        row = _row(o, classifier, entry, folder / name)
        print_row(o, row.name, row)
        failed += bool(row.error)
    return failed


def _check(o: Classify) -> None:
    for name in ALONE:
        if getattr(o, name):
            raise ConfigError(f"--explain is about whole files and writes its own: leave out --{name}")
    if o.jobs != 1:
        raise ConfigError("--explain works in one process: leave out --jobs")
    if o.channel == "each":
        raise ConfigError("--explain is about one channel: give --channel mix, left, right or a number")


def _row(o: Classify, classifier: "Classifier", entry: "Entry", path: Path) -> "Row":
    """Answer for a file, and write the explanation to PATH.json and so on."""
    from msgspec.structs import replace

    from streamcab.bulk.answering import failed
    from streamcab.explain.explained import explained
    from streamcab.explain.files import write
    from streamcab.source.file import read_audio

    row = failed(entry, entry.error)
    if entry.error:
        return row
    try:
        samples, rate = read_audio(entry.path, o.channel)
        one = explained(classifier, samples, rate, gate=gate_of(o.gate), name=row.name)
    except StreamcabError as error:
        return failed(entry, str(error))
    write(path.parent, path.name, one)
    return replace(row, answer=one.answer)
