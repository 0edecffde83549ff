"""Entries into rows: many files at a time on one classifier, answered in the order of the list.

Knows nothing of parts, tables or processes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamcab.bulk.listing import Entry
from streamcab.bulk.row import Row
from streamcab.classifier import Classified, Classifier, Recording
from streamcab.errors import ConfigError, StreamcabError
from streamcab.source.decoder import Decoder
from streamcab.source.file import samples_of
from streamcab.source.formats import open_audio
from streamcab.source.mixer import Mixer
from streamcab.source.piped import is_pipe
from streamcab.text import as_unicode

AT_ONCE = 64
"""Files that are open at a time."""
RATE = 8000
"""Of a file that cannot be opened: any will do."""


@dataclass(frozen=True)
class How:
    """The options that apply to every file."""

    channel: str = "mix"
    gate: bool | None = None
    segment_s: float | None = None


@dataclass
class Answered:
    """All rows of an entry, in order, and the seconds of audio that were decoded for it."""

    entry: Entry
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    left: int = 0


@dataclass
class _Channel:
    """A channel of a file that is open, or why it is not."""

    of: Answered
    channel: str
    open: "tuple[Decoder, Mixer] | StreamcabError"

    def pieces(self) -> Iterator[NDArray[np.float32]]:
        """Yield its samples; closes the file when they end."""
        if isinstance(self.open, StreamcabError):
            raise self.open
        audio, mixer = self.open
        with audio:
            for samples in samples_of(audio, mixer):
                yield samples[:, 0]

    @property
    def rate(self) -> int:
        return RATE if isinstance(self.open, StreamcabError) else self.open[0].rate

    @property
    def told(self) -> tuple[list[str], dict[str, str]]:
        """Return the defects of the file, in words, and those of its channels, by name."""
        if isinstance(self.open, StreamcabError):
            return [], {}
        audio, mixer = self.open
        return audio.notes, mixer.told

    @property
    def name(self) -> str:
        path = as_unicode(self.of.entry.path)
        return f"{path}:{self.channel}" if self.channel else path


def answered(
    classifier: Classifier,
    entries: Iterable[Entry | None],
    how: How,
    at_once: int = AT_ONCE,
    heard: Callable[[int, float], object] = lambda files, seconds: None,
) -> Iterator[Answered]:
    """Answers to all entries, in their order; None for an entry: there is none yet.

    heard  is told of each file that is done, and of its seconds, at once, whatever the order
    """
    under_way: deque[Answered] = deque()

    def recordings() -> Iterator[Recording | None]:
        for entry in entries:
            if entry is None:
                yield None
                continue
            one = Answered(entry)
            under_way.append(one)
            try:
                channels = _opened(one, how.channel)
            except StreamcabError as error:
                channels = [_Channel(one, "", error)]
            one.left = len(channels)
            for channel in channels:
                yield Recording(channel.name, channel.rate, channel.pieces(), channel)

    for answer in classifier.classify_many(
        recordings(), gate=how.gate, segment_s=how.segment_s, at_once=at_once
    ):
        channel: _Channel = answer.recording.of
        _add(channel, answer)
        one = channel.of
        if answer.last:
            one.left -= 1
            one.seconds += answer.end_s
            if not one.left:
                heard(1, one.seconds)
        while under_way and not under_way[0].left:
            yield _in_order(under_way.popleft())
    assert not under_way, "every recording is answered"


def failed(entry: Entry, error: str) -> Row:
    """Return the row of a file that cannot be answered."""
    return Row(
        number=entry.number,
        id=as_unicode(entry.id),
        path=as_unicode(entry.path),
        name=as_unicode(entry.path),
        error=as_unicode(error),
    )


def _opened(one: Answered, channel: str) -> list[_Channel]:
    """Open the channels that are asked for, each on a file of its own."""
    entry = one.entry
    if entry.error:
        raise ConfigError(entry.error)
    path, numbers = Path(entry.path), [channel]
    if channel == "each":
        if is_pipe(path):
            raise ConfigError(f"{path}: --channel each reads a file twice, and this is a pipe: save it first")
        with open_audio(path) as audio:
            count = audio.channels
        numbers = [str(k) for k in range(1, count + 1)]
    found: list[_Channel] = []
    opened: list[Decoder] = []
    try:
        for number in numbers:
            audio = open_audio(path)
            opened.append(audio)
            mixer = Mixer(number, audio.channels, audio.rate)
            found.append(_Channel(one, number if len(numbers) > 1 else "", (audio, mixer)))
    except StreamcabError:
        for audio in opened:
            audio.close()
        raise
    return found


def _add(channel: _Channel, answer: Classified) -> None:
    entry, told = channel.of.entry, answer.prediction
    if told is None and answer.error is None:
        return
    notes, flaws = channel.told
    if told is not None and flaws:
        told = msgspec.structs.replace(told, flaws=[*told.flaws, *flaws])
    channel.of.rows.append(
        Row(
            number=entry.number,
            id=as_unicode(entry.id),
            path=as_unicode(entry.path),
            name=channel.name,
            channel=channel.channel,
            start_s=answer.start_s,
            end_s=answer.end_s,
            answer=told,
            notes=as_unicode("; ".join([*notes, *flaws.values()]))
            if answer.last and told is not None
            else "",
            error=as_unicode(str(answer.error)) if answer.error is not None else "",
        )
    )


def _in_order(one: Answered) -> Answered:
    one.rows.sort(key=lambda row: (int(row.channel or 0), row.start_s))
    return one
