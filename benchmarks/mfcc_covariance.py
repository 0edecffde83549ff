"""The bar of issue 4: how well a plain classifier of MFCC covariances tells the accents of saa8k.

    python benchmarks/mfcc_covariance.py saa8k/manifest.csv [--shuffles 3] [--halves]
    python benchmarks/mfcc_covariance.py saa8k/manifest.csv --config configs/world.toml [--against runs/world-folds]

13 MFCCs with first and second deltas (25 ms windows, 10 ms hop, 26 mel bands), their covariance over the clip, logistic
regression, classes balanced; 5 folds, one clip a speaker, so disjoint. UAR of each shuffle's pooled answers. With a
recipe, its classes and the very folds of `streamcab train --folds 5`; --against compares with the answers of those.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.signal import lfilter
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from streamcab_train.bootstrap import difference_95, intervals_95
from streamcab_train.cepstra import bands
from streamcab_train.fold_answers import pooled, read_answers
from streamcab_train.manifest import Clip, read_manifest
from streamcab_train.recipe import read_recipe
from streamcab_train.run_folder import ANSWERS
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.split import fold_clips

CLASSES = {"us": 0, "england": 1, "wales": 1, "australia": 2}
RATE, WINDOW, HOP, BINS = 8000, 200, 80, 256

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def mfcc(x: Floats) -> Floats:
    """Compute (frames, 13) of samples (n,)."""
    sharp = lfilter([1, -0.97], [1], x / (x.std() + 1e-9))
    frames = np.lib.stride_tricks.sliding_window_view(sharp, WINDOW)[::HOP] * np.hamming(WINDOW)
    power = np.abs(np.fft.rfft(frames, BINS)) ** 2
    found: Floats = dct(np.log(power @ bands(RATE, BINS).T + 1e-8), norm="ortho", axis=1)[:, :13]
    return found


def delta(c: Floats, width: int = 2) -> Floats:
    """Compute the slope over 2 * width + 1 frames."""
    padded, n = np.pad(c, ((width, width), (0, 0)), "edge"), len(c)
    steps = range(1, width + 1)
    rise = sum(k * (padded[width + k :][:n] - padded[width - k :][:n]) for k in steps)
    found: Floats = rise / (2 * sum(k * k for k in steps))
    return found


def covariance(x: Floats) -> Floats:
    """Return the upper triangle of the covariance of samples (n,): (780,)."""
    c = mfcc(x)
    d = delta(c)
    whole = np.hstack((c, d, delta(d)))
    whole -= whole.mean(0)
    found: Floats = (whole.T @ whole / len(whole))[np.triu_indices(whole.shape[1])]
    return found


def answers(fitted: Floats, heard: Floats, y: Ints, folds: Iterable[tuple[Ints, Ints]]) -> Ints:
    """Fit numbers (n, 780) of the voices of four folds, and return the answers (n,) to those of the fifth."""
    found = np.zeros_like(y)
    for train, test in folds:
        logistic = LogisticRegression(C=1e-3, class_weight="balanced", max_iter=500)
        model = make_pipeline(StandardScaler(), logistic).fit(fitted[train], y[train])
        found[test] = model.predict(heard[test])
    return found


def recipe_folds(clips: Sequence[Clip], config: Path, repeat: int) -> list[tuple[Ints, Ints]]:
    """Return the folds of `streamcab train --folds 5`; validation voices are fitted on, as by its evidence."""
    parts = [np.array(p) == "test" for p in fold_clips(clips, read_recipe(config).split, 5, repeat)]
    return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in parts]


def plain_clips(manifest: Path) -> tuple[list[Path], Ints, list[str]]:
    """Return files, classes and their names, of us / uk / australia in the order of the rows."""
    with manifest.open(newline="", encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["accent"] in CLASSES]
    files = [manifest.parent / row["path"] for row in rows]
    return files, np.array([CLASSES[row["accent"]] for row in rows]), ["us", "uk", "australia"]


def against(folder: Path, files: list[Path], said: list[Ints], y: Ints, labels: list[str]) -> None:
    """Print what a model of folds has, and more than the baseline."""
    number = {str(file.resolve()): i for i, file in enumerate(files)}
    theirs, ours, truth, voices = [], [], [], []
    for repeat, mine in enumerate(said):
        model = pooled([read_answers(folder / str(repeat) / str(k) / ANSWERS) for k in range(5)])
        order = [number[path] for path in model.paths]
        if list(model.labels) != labels or not np.array_equal(model.truth, y[order]):
            raise SystemExit(f"{folder} holds folds of another recipe")
        theirs.append(model.answers)
        ours.append(mine[order])
        truth.append(model.truth)
        voices += model.speakers
    both = np.concatenate(truth), np.concatenate(ours), np.concatenate(theirs)
    uar = [scores(confusion_matrix(both[0], a, len(labels))).uar for a in both[1:]]
    own = intervals_95(both[0], both[1], voices, len(labels))["uar"]
    gap = difference_95(*both, voices, len(labels))
    print(
        f"baseline {uar[0]:.3f} {np.round(own, 3)}; {folder} {uar[1]:.3f}: {uar[1] - uar[0]:+.3f} {np.round(gap, 3)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="MFCC covariances and logistic regression on saa8k.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--shuffles", type=int, default=3)
    parser.add_argument("--halves", action="store_true", help="Fit on a half of each reading: two texts.")
    parser.add_argument("--config", type=Path, help="A recipe: its classes and folds.")
    parser.add_argument("--against", type=Path, help="Folds that streamcab train made by that recipe.")
    words = parser.parse_args()
    if words.config:
        of = read_manifest(words.manifest, read_recipe(words.config).corpus)
        labels = list(of.labels)
        files = [words.manifest.parent / clip.path for clip in of.clips]
        y = np.array([labels.index(clip.label) for clip in of.clips])
        folds = [recipe_folds(of.clips, words.config, r) for r in range(words.shuffles)]
    else:
        files, y, labels = plain_clips(words.manifest)
        kept = [StratifiedKFold(5, shuffle=True, random_state=s) for s in range(words.shuffles)]
        folds = [list(one.split(y, y)) for one in kept]
    clips = []
    for file in files:
        samples, rate = soundfile.read(file, dtype="float64")
        assert rate == RATE, f"{file} has {rate} Hz"
        clips.append(samples)
    print(f"{len(y)} speakers: {', '.join(labels)} {np.bincount(y)}", flush=True)
    if words.halves:
        x = {
            "first half": np.stack([covariance(c[: len(c) // 2]) for c in clips]),
            "second half": np.stack([covariance(c[len(c) // 2 :]) for c in clips]),
        }
    else:
        x = {"all": np.stack([covariance(c) for c in clips])}
    for fitted, heard in product(x, x):
        said = [answers(x[fitted], x[heard], y, dealt) for dealt in folds]
        found = [scores(confusion_matrix(y, one, len(labels))) for one in said]
        uar = [s.uar for s in found]
        print(
            f"fitted on {fitted}, judged on {heard}: UAR {np.mean(uar):.3f} +- {np.std(uar):.3f} {np.round(uar, 3)}, "
            f"recall {np.mean([s.recall for s in found], 0).round(3)}, "
            f"accuracy {np.mean([s.accuracy for s in found]):.3f}",
            flush=True,
        )
        if words.against and not words.halves:
            against(words.against, files, said, y, labels)


if __name__ == "__main__":
    main()
