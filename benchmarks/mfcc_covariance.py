"""The bar of issue 4: how well a plain classifier of MFCC covariances tells the accents of saa8k.

    python benchmarks/mfcc_covariance.py saa8k/manifest.csv [--shuffles 3]

13 MFCCs with first and second deltas (25 ms windows, 10 ms hop, 26 mel bands), their covariance over the clip, logistic
regression, classes balanced; 5 folds, one clip a speaker, so disjoint. UAR of each shuffle's pooled answers.
"""

import argparse
import csv
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
from streamcab_train.scores import confusion_matrix, scores
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


def covariance(file: Path) -> Floats:
    """The upper triangle of the clip's covariance, (780,)."""
    samples, rate = soundfile.read(file, dtype="float64")
    assert rate == RATE, f"{file} has {rate} Hz"
    c = mfcc(samples)
    d = delta(c)
    whole = np.hstack((c, d, delta(d)))
    whole -= whole.mean(0)
    found: Floats = (whole.T @ whole / len(whole))[np.triu_indices(whole.shape[1])]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="MFCC covariances and logistic regression on saa8k.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--shuffles", type=int, default=3)
    words = parser.parse_args()
    with words.manifest.open(newline="", encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["accent"] in CLASSES]
    x = np.stack([covariance(words.manifest.parent / row["path"]) for row in rows])
    y = np.array([CLASSES[row["accent"]] for row in rows])
    print(f"{len(y)} speakers: us, uk, australia {np.bincount(y)}")
    found = []
    for shuffle in range(words.shuffles):
        answers = np.zeros_like(y)
        for train, test in StratifiedKFold(5, shuffle=True, random_state=shuffle).split(x, y):
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=500)
            )
            answers[test] = model.fit(x[train], y[train]).predict(x[test])
        s = scores(confusion_matrix(y, answers, 3))
        found.append(s.uar)
        print(
            f"shuffle {shuffle}: UAR {s.uar:.3f}, recall {np.round(s.recall, 3)}, accuracy {s.accuracy:.3f}"
        )
    print(f"UAR {np.mean(found):.3f} +- {np.std(found):.3f} over {words.shuffles} shuffles")


if __name__ == "__main__":
    main()
