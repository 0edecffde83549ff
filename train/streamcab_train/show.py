"""The display of a training run: tables of the corpus, progress, scores. Live on a terminal, else as plain lines.

Knows nothing of how anything is computed.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from streamcab_train.dataset import Count, Dataset
from streamcab_train.loop import Judged, Watcher
from streamcab_train.manifest import PARTS
from streamcab_train.recipe_keys import TrainingKeys
from streamcab_train.scores import Scores
from streamcab_train.state import Progress as Standing

LINES_EVERY_S = 10.0
"""Seconds between two lines of progress without a terminal."""


def corpus_table(counts: Iterable[Count], title: str) -> Table:
    """Tabulate clips, speakers and hours of each class and part."""
    table = Table(title=title, title_justify="left")
    for name in ("class", "part", "clips", "speakers", "hours"):
        table.add_column(name, justify="left" if name in ("class", "part") else "right")
    last = None
    for c in counts:
        label = "" if c.label == last else c.label
        row = label, c.part, str(c.clips), str(c.speakers), f"{c.seconds / 3600:.3f}"
        table.add_row(*row, end_section=c.part == PARTS[-1])
        last = c.label
    return table


def confusion_table(scores: Scores, labels: Sequence[str]) -> Table:
    """Tabulate truth in rows, answers in columns, recall at the end."""
    table = Table(title="test (truth in rows)", title_justify="left")
    table.add_column("")
    for label in (*labels, "recall"):
        table.add_column(label, justify="right")
    for label, row, recall in zip(labels, scores.confusion, scores.recall, strict=True):
        table.add_row(label, *(str(n) for n in row), f"{recall:.3f}")
    return table


def score_line(part: str, s: Scores, entry: Mapping[str, Any]) -> str:
    """Return all scores of a part in one line, with their caveats. `entry` is the card's."""
    given = entry["uar_95"]
    interval = f"95 %: {given[0]:.2f} to {given[1]:.2f}" if given else "no interval: a class has one speaker"
    return (
        f"{part}: accuracy {s.accuracy:.4f}, UAR {s.uar:.4f} ({interval}), "
        f"macro F1 {s.f1:.4f}, "
        f"{entry['clips']} clips of {entry['speakers']} speakers, {entry['protocol']}"
    )


def duration(seconds: float) -> str:
    """Write h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Screen(Watcher):
    """Progress of features and epochs on a console; close it, or use it as a context."""

    def __init__(self, console: Console, keys: TrainingKeys) -> None:
        self._console = console
        self._keys = keys
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def say(self, what: str | Table) -> None:
        """Print a line or a table, above whatever moves."""
        self._console.print(what, highlight=False, soft_wrap=isinstance(what, str))

    def show_corpus(self, dataset: Dataset, protocol: str) -> None:
        """Print what a dataset consists of, and how it was split."""
        if dataset.dropped:
            reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(dataset.dropped.items()))
            self.say(f"dropped {sum(dataset.dropped.values())} clips: {reasons}")
        if said := dataset.twins.in_words(dataset.clips):
            self.say(f"{said}; they are kept on one side of the split (--strict refuses them)")
        self.say(corpus_table(dataset.counts(), f"corpus {dataset.hash}, {protocol}"))

    def show_results(
        self, judged: Mapping[str, Judged], card: Mapping[str, Any], labels: Sequence[str]
    ) -> None:
        """Print the confusion of the test clips and the scores of each part."""
        self.say(confusion_table(judged["test"].scores, labels))
        for part, j in judged.items():
            self.say(score_line(part, j.scores, card["scores"][part]))

    def features(self, files: Sequence[tuple[str, Path]], done: int) -> Iterator[tuple[str, Path]]:
        """Yield the remaining files one by one, and show the progress on the console."""
        return self._files("features", files, done)

    def trunk(self, files: Sequence[tuple[str, Path]], done: int) -> Iterator[tuple[str, Path]]:
        """Return the same, while a frozen distiller and trunk hear them."""
        return self._files("trunk", files, done)

    def _files(self, what: str, files: Sequence[tuple[str, Path]], done: int) -> Iterator[tuple[str, Path]]:
        self._begin_bar(what, len(files), done)
        said = time.monotonic()
        for n, file in enumerate(files[done:], done + 1):
            yield file
            self._advance()
            if self._bar is None and time.monotonic() - said > LINES_EVERY_S:
                said = time.monotonic()
                self.say(f"{what}: {n} of {len(files)} files")
        self._end_bar()

    def epoch(self, number: int, batches: int) -> None:
        """See Watcher."""
        self._begin_bar(f"epoch {number}", batches)

    def batch(self) -> None:
        """See Watcher."""
        self._advance()

    def judged(self, record: Mapping[str, Any], progress: Standing) -> None:
        """See Watcher."""
        self._end_bar()
        keys = self._keys
        left = min(keys.epochs - progress.epoch, keys.patience - progress.stale)
        best = "best" if progress.stale == 0 else f"best was {progress.best_epoch}"
        # Each better epoch starts the patience anew: the time is a lower bound.
        self.say(
            f"epoch {record['epoch']:3}  loss {record['loss']:.4f}  val loss {record['val_loss']:.4f}  "
            f"val UAR {record['val_uar']:.4f}  {record['audio_s'] / record['train_s']:.0f} s/s  "
            f"{duration(left * record['epoch_s'])} left unless better  {best}"
        )

    def _begin_bar(self, what: str, total: int, done: int = 0) -> None:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total, completed=done)

    def _advance(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
