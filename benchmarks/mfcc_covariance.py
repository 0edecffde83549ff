"""The bar of issue 4: how well a plain classifier of MFCC covariances tells the accents of saa8k.

    python benchmarks/mfcc_covariance.py saa8k/manifest.csv [--shuffles 3] [--halves]

13 MFCCs with first and second deltas (25 ms windows, 10 ms hop, 26 mel bands), their covariance over the clip, logistic
regression, classes balanced; 5 folds, one clip a speaker, so disjoint. UAR of each shuffle's pooled answers.
"""

import argparse
import csv
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
from streamcab_train.scores import Scores, confusion_matrix, scores
from streamcab_train.teacher import bands

CLASSES = {"us": 0, "england": 1, "wales": 1, "australia": 2}
RATE, WINDOW, HOP, BINS = 8000, 200, 80, 256

Floats = NDArray[np.float64]


def mfcc(x: Floats) -> Floats:
    """Samples (n,) -> (frames, 13)."""
    sharp = lfilter([1, -0.97], [1], x / (x.std() + 1e-9))
    frames = np.lib.stride_tricks.sliding_window_view(sharp, WINDOW)[::HOP] * np.hamming(WINDOW)
    power = np.abs(np.fft.rfft(frames, BINS)) ** 2
    found: Floats = dct(np.log(power @ bands(RATE, BINS).T + 1e-8), norm="ortho", axis=1)[:, :13]
    return found


def delta(c: Floats, width: int = 2) -> Floats:
    """Slope over 2 * width + 1 frames."""
    padded, n = np.pad(c, ((width, width), (0, 0)), "edge"), len(c)
    steps = range(1, width + 1)
    rise = sum(k * (padded[width + k :][:n] - padded[width - k :][:n]) for k in steps)
    found: Floats = rise / (2 * sum(k * k for k in steps))
    return found


def covariance(x: Floats) -> Floats:
    """The upper triangle of the covariance of samples (n,): (780,)."""
    c = mfcc(x)
    d = delta(c)
    whole = np.hstack((c, d, delta(d)))
    whole -= whole.mean(0)
    found: Floats = (whole.T @ whole / len(whole))[np.triu_indices(whole.shape[1])]
    return found


def judged(fitted: Floats, heard: Floats, y: NDArray[np.int64], shuffle: int) -> Scores:
    """5 folds: fitted on numbers (n, 780) of the voices of four, judged on those of the fifth."""
    answers = np.zeros_like(y)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=shuffle).split(fitted, y):
        logistic = LogisticRegression(C=1e-3, class_weight="balanced", max_iter=500)
        model = make_pipeline(StandardScaler(), logistic).fit(fitted[train], y[train])
        answers[test] = model.predict(heard[test])
    return scores(confusion_matrix(y, answers, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description="MFCC covariances and logistic regression on saa8k.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--shuffles", type=int, default=3)
    parser.add_argument("--halves", action="store_true", help="Fit on a half of each reading: two texts.")
    words = parser.parse_args()
    with words.manifest.open(newline="", encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["accent"] in CLASSES]
    clips = []
    for row in rows:
        samples, rate = soundfile.read(words.manifest.parent / row["path"], dtype="float64")
        assert rate == RATE, f"{row['path']} has {rate} Hz"
        clips.append(samples)
    y = np.array([CLASSES[row["accent"]] for row in rows])
    print(f"{len(y)} speakers: us, uk, australia {np.bincount(y)}")
    if words.halves:
        x = {
            "first half": np.stack([covariance(c[: len(c) // 2]) for c in clips]),
            "second half": np.stack([covariance(c[len(c) // 2 :]) for c in clips]),
        }
    else:
        x = {"all": np.stack([covariance(c) for c in clips])}
    for fitted, heard in product(x, x):
        found = [judged(x[fitted], x[heard], y, shuffle) for shuffle in range(words.shuffles)]
        uar = [s.uar for s in found]
        print(
            f"fitted on {fitted}, judged on {heard}: UAR {np.mean(uar):.3f} +- {np.std(uar):.3f} {np.round(uar, 3)}, "
            f"recall {np.mean([s.recall for s in found], 0).round(3)}, "
            f"accuracy {np.mean([s.accuracy for s in found]):.3f}"
        )


if __name__ == "__main__":
    main()
