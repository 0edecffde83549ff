"""Several runs of an experiment in parallel, each in its own process, with one view of all.

Every run owns a folder, with a line in `history.jsonl` for each epoch and a last file that marks its end. So the view
reads folders, a finished run is not repeated, and an interrupted run is resumed. Knows nothing of the content of a run.
"""

import contextlib
import ctypes
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from streamcab.errors import StreamcabError
from streamcab_train.loop import HISTORY

LOOK_S = 1.0
"""Seconds between two readings of the folders."""
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Run:
    """call(**arguments), found by its name in a module, fills `folder` and writes `last` there at its end."""

    name: str
    folder: Path
    last: str
    epochs: int
    call: Callable[..., object]
    arguments: Mapping[str, Any]

    @property
    def over(self) -> bool:
        """Note that a run is done."""
        return (self.folder / self.last).exists()


def run_all(runs: Sequence[Run], jobs: int, console: Console, what: str) -> None:
    """Run all unfinished runs; the first failure ends all of them, and its exception is raised here."""
    left = [run for run in runs if not run.over]
    if len(left) < len(runs):
        console.print(f"{len(runs) - len(left)} of {len(runs)} {what} are there already", highlight=False)
    if not left:
        return
    # Fresh processes: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with _View(console, runs, what) as view:
        pool = ProcessPoolExecutor(min(jobs, len(left)), context, die_with_parent)
        try:
            futures = {pool.submit(_begin, run): run for run in left}
            waiting: set[Future[None]] = set(futures)
            while waiting:
                done, waiting = wait(waiting, LOOK_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                    view.over(futures[future])
                view.look()
        except BrokenProcessPool:
            raise StreamcabError(
                f"a process of the {what} was killed, perhaps for memory: the same command goes on"
            ) from None
        except BaseException:
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()


def _begin(run: Run) -> None:
    run.call(**run.arguments)


def die_with_parent(*_: object) -> None:
    """End this process with its parent process, and without a traceback on an interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _View:
    """The pool's display: on a terminal, a bar for all runs and one for each active run; else a line per finished
    run."""

    def __init__(self, console: Console, runs: Sequence[Run], what: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[last]}"),
        )
        self._console, self._runs = console, runs
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        over = sum(run.over for run in runs)
        self._all = self._bars.add_task(what, total=len(runs), completed=over, last="")
        self._tasks: dict[str, TaskID] = {}
        self._began = time.monotonic()

    def __enter__(self) -> "_View":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def look(self) -> None:
        """Read how far each run is."""
        if not self._console.is_terminal:
            return
        for run in self._runs:
            history = run.folder / HISTORY
            if run.over or not history.exists():
                continue
            lines = history.read_text(encoding="utf-8").splitlines()
            if run.name not in self._tasks:
                self._tasks[run.name] = self._bars.add_task(run.name, total=run.epochs, last="")
            self._bars.update(self._tasks[run.name], completed=len(lines), last=_last(lines))

    def over(self, run: Run) -> None:
        """Note that a run is done."""
        self._bars.advance(self._all)
        if run.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(run.name))
        epochs = len((run.folder / HISTORY).read_text(encoding="utf-8").splitlines())
        minutes = (time.monotonic() - self._began) / 60
        self._console.print(f"{run.name}: over after {epochs} epochs, minute {minutes:.1f}", highlight=False)


def _last(lines: Sequence[str]) -> str:
    """Return the newest epoch of a history, whose last line may be incomplete."""
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            return f"val UAR {record['val_uar']:.3f}"
    return ""
