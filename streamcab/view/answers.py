"""Answers of files for people at a terminal: a small table, and the progress of many.

Knows nothing of files or of how they are heard.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from streamcab.message import Prediction
from streamcab.view.words import doubt


def answers_table(answers: Sequence[tuple[str, Prediction | str]]) -> Table:
    """Make a table of names, safe to print, with their answers or with why there is none."""
    labels = next((a.labels for _, a in answers if isinstance(a, Prediction)), [])
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("file", overflow="fold")
    table.add_column("accent")
    for label in labels:
        table.add_column(label, justify="right")
    table.add_column("speech", justify="right")
    table.add_column("")
    for name, answer in answers:
        if not isinstance(answer, Prediction):
            table.add_row(Text(name), Text("error", "red"), *[""] * len(labels), "", Text(answer, "red"))
            continue
        top, voiced = answer.top, f"{answer.voiced_s:.1f} s"
        probs = [Text(f"{answer.probs[x]:.2f}", "bold" if x == top else "") if top else "" for x in labels]
        doubts = [word for word in (doubt(answer), *answer.flaws) if word]
        table.add_row(Text(name), Text(top or "no speech", "bold"), *probs, voiced, ", ".join(doubts))
    return table


def show(answers: Sequence[tuple[str, Prediction | str]]) -> None:
    """Print such a table on standard output."""
    Console().print(answers_table(answers))


class Bar:
    """Progress: files, seconds of audio, and their ratio to the time that has passed."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._seconds = progress, 0.0
        self._task = None if progress is None else progress.add_task("", total=total, audio="", rate="")

    def heard(self, files: int, seconds: float) -> None:
        """Add files and seconds."""
        if self._progress is None or self._task is None:
            return
        self._seconds += seconds
        spent = self._progress.tasks[0].elapsed or 0.0
        rate = f"{self._seconds / spent:.0f} x real time" if spent > 1 else ""
        audio = f"{self._seconds / 3600:.2f} h of audio"
        self._progress.update(self._task, advance=files, audio=audio, rate=rate)


@contextmanager
def progress(total: int, *, shown: bool) -> Iterator[Bar]:
    """Show a bar on standard error while files are heard; nothing unless `shown`."""
    if not shown:
        yield Bar(None, total)
        return
    fields = (TextColumn("{task.fields[audio]}"), TextColumn("{task.fields[rate]}"))
    bar = Progress(
        BarColumn(), MofNCompleteColumn(), *fields, TimeRemainingColumn(), console=Console(stderr=True)
    )
    with bar:
        yield Bar(bar, total)
