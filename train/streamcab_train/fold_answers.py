"""The answers of a finished run, as `test.csv` holds them: path, speaker, label, top, and each class' probability.

Several runs are scored together from these. Knows nothing of models.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import CorpusError
from streamcab_train.manifest import Clip

FIXED = ("path", "speaker", "label", "top")


@dataclass(frozen=True)
class FoldAnswers:
    """The answers to n clips: paths and speakers, truth (n,), probabilities (n, labels)."""

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    speakers: tuple[str, ...]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def answers(self) -> NDArray[np.int64]:
        """Return the class of each clip, (n,)."""
        best: NDArray[np.int64] = self.probabilities.argmax(1)
        return best


def write_answers(
    file: Path, labels: Sequence[str], clips: Sequence[Clip], probabilities: NDArray[np.float64]
) -> None:
    """Write the answers; probabilities (n, labels)."""
    with file.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*FIXED, *labels])
        for clip, p in zip(clips, probabilities, strict=True):
            row = [clip.path, clip.speaker, clip.label, labels[int(p.argmax())]]
            writer.writerow([*row, *(f"{x:.6f}" for x in p)])


def read_answers(file: Path) -> FoldAnswers:
    """Read answers; each clip without a speaker counts as a speaker of its own. CorpusError for a damaged file."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            head, *rows = csv.reader(text)
        labels = tuple(head[len(FIXED) :])
        return FoldAnswers(
            labels,
            tuple(row[0] for row in rows),
            tuple(row[1] or row[0] for row in rows),
            np.array([labels.index(row[2]) for row in rows], np.int64),
            np.array([row[len(FIXED) :] for row in rows], np.float64).reshape(len(rows), len(labels)),
        )
    except (OSError, ValueError, IndexError) as error:
        raise CorpusError(f"{file} holds no answers ({error}): remove its folder and run again") from None


def pooled(runs: Sequence[FoldAnswers]) -> FoldAnswers:
    """Return the answers of several runs on different clips as one set, e.g. of all folds."""
    return FoldAnswers(
        runs[0].labels,
        tuple(path for run in runs for path in run.paths),
        tuple(speaker for run in runs for speaker in run.speakers),
        np.concatenate([run.truth for run in runs]),
        np.concatenate([run.probabilities for run in runs]),
    )
