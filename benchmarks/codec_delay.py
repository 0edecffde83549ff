"""What a codec's delay does to answers, apart from the codec: `python benchmarks/codec_delay.py [--model FILE]`.

The demo's clips, whole, at 8 kHz: with some silence before them, through Opus, and through Opus without its delay.
Prints, as Markdown, the change of the probability that changes most. Wants the extra `codecs`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import sounds
from recordings import int16
from wire import encoded

from streamcab.classifier import Classifier, load
from streamcab.rtp.decoder import AvDecoder

CLIPS = [f"{accent}-{k}" for accent in ("us", "uk") for k in range(1, 5)]
OPUS_RATE, DELAY = 48000, 312
"""The samples that libopus looks ahead: 6.5 ms."""


def probabilities(classifier: Classifier, x: np.ndarray, rate: int) -> np.ndarray:
    """Return the answer to a clip, (labels,)."""
    return np.array(list(classifier.classify(x.astype(np.float32), rate).probs.values()))


def changes(classifier: Classifier, name: str) -> list[float]:
    """Return the largest change of a probability of a clip, by row of the table."""
    clip = sounds.clip(name)
    x = int16(clip) / 32768
    clean = probabilities(classifier, x, 8000)

    def change(y: np.ndarray, rate: int = 8000) -> float:
        return float(np.abs(probabilities(classifier, y, rate) - clean).max())

    decoder = AvDecoder("OPUS")
    heard = np.concatenate([decoder.decode(payload) for payload in encoded(clip, "libopus")])
    return [
        max(change(np.pad(x, (shift, 0))) for shift in range(10, 200, 10)),
        change(np.pad(x, (round(DELAY / OPUS_RATE * 8000), 0))),
        change(heard, OPUS_RATE),
        change(heard[DELAY:], OPUS_RATE),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    classifier = load(parser.parse_args().model, "cpu")
    found = np.array([changes(classifier, name) for name in CLIPS])
    rows = (
        "nothing but the worst of 19 shifts of 10 samples each",
        "nothing but a shift of 6.5 ms, the delay of libopus",
        "Opus, libopus at its own rate, 48 kHz",
        "the same without its delay",
    )
    print(f"| change | largest of {len(CLIPS)} clips | median |\n|---|---|---|")
    for row, of in zip(rows, found.T, strict=True):
        print(f"| {row} | {of.max():.3f} | {np.median(of):.3f} |")


if __name__ == "__main__":
    main()
