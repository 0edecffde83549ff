"""The speech detector beside silero-vad, webrtcvad and ten-vad, in one run, on kinds of sound that it was never taught.

    python benchmarks/speech_detector.py FOLDER [--model FILE] [--minutes 10] [--judge NAME] [--plot FILE.svg]

FOLDER is what `python -m streamcab_train.detect gather` has made: of it only the speakers and packages that were kept
out. Wants `pip install --no-deps silero-vad onnxruntime webrtcvad-wheels ten-vad`; what is missing is left out. Prints,
as Markdown: how much of sounds without speech each calls speech, and the largest confidence of an answer; how much of
clean and noisy speech; the area under the curve over frames of clean speech mixed with noise, where what is speech is
known from the clean clip; and processor time, also as a share of the model's whole pass. One thread. With `--judge`
the speech is that of a corpus that `gather` was given to judge, in place of the speakers kept out.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import sounds
from inference import Calls
from numpy.typing import NDArray
from receiver_curves import Scored, draw
from speech_judges import INTERVAL, RATE, Judge, Scores, judges
from streamcab_train.detect import area
from streamcab_train.material import Material, material
from streamcab_train.mixtures import babble, voiced_power

from streamcab.classifier import Classifier, load
from streamcab.dsp import bands
from streamcab.dsp.detector import Detector
from streamcab.dsp.gate import VOICED
from streamcab.inference.offline import features
from streamcab.nn.backend import make_backend
from streamcab.nn.weights import detector_of

Sound = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


def whole(x: Sound) -> NDArray[np.float32]:
    """Return whole intervals of 16 bits."""
    x = x[: len(x) // INTERVAL * INTERVAL]
    return (np.round(np.clip(x, -1, 1) * 32767) / 32768).astype(np.float32)


def voiced(classifier: Classifier, x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which intervals vote, given the detector's verdict."""
    model = classifier.checkpoint.model
    return features(x, RATE, model.architecture, detector_of(model)).kind[0] == VOICED


def peak(classifier: Classifier, x: NDArray[np.float32]) -> float:
    """Return the largest confidence of any answer while it plays."""
    stream = classifier.stream(RATE, every_s=0.5)
    said = [*stream.push(x), *stream.finish()]
    return max((p.confidence or 0.0 for p in said), default=0.0)


def kept_out(folder: Path) -> dict[str, list[Sound]]:
    """Return sounds without speech: those of the tests, and packages that had no part in training."""
    found: dict[str, list[Sound]] = {name: [make()] for name, make in sounds.SOUNDS.items()}
    found["street"] += [sounds.level(sounds.street(20, 100 + k), -25) for k in range(4)]
    found["fax"] += [sounds.fax(10 + k) for k in range(2)]
    found["keyboard"] += [sounds.level(sounds.keyboard(15, 40 + k, 3 + 3 * k), -28) for k in range(3)]
    found["music on hold"] += [sounds.music(20, 50 + k, bpm=70 + 25 * k, key=50 + 3 * k) for k in range(4)]
    data = np.load(folder / "sounds-test.npz")
    ends = np.cumsum(data["length"])
    for name, end, n in zip(data["names"].tolist(), ends, data["length"], strict=True):
        x = data["x"][end - n : end].astype(np.float64) / 32768
        found.setdefault(f"recorded: {name.split('/')[0]}", []).append(sounds.level(x, -22))
    return found


def table(rows: list[list[str]]) -> None:
    """Print Markdown."""
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows[1:]:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def sounds_table(classifier: Classifier, found: list[Judge], folder: Path) -> None:
    """Print how much of the sounds without speech each detector calls speech."""
    rows = [["sound, none of it taught", "s", *(j.name for j in found), "votes", "largest confidence"]]
    total = np.zeros(len(found) + 2)
    for name, clips in kept_out(folder).items():
        said, seconds, votes, highest = np.zeros(len(found)), 0.0, 0.0, 0.0
        for clip in map(whole, clips):
            said += [float((j.scores(clip) > j.threshold).sum()) * 0.025 for j in found]
            votes += float(voiced(classifier, clip).sum()) * 0.025
            highest = max(highest, peak(classifier, clip))
            seconds += len(clip) / RATE
        total += [*said, votes, seconds]
        shares = (f"{100 * part / seconds:.1f} %" for part in (*said, votes))
        rows.append([name, f"{seconds:.0f}", *shares, f"{highest:.2f}"])
    rows.append(["all", f"{total[-1]:.0f}", *(f"{100 * s / total[-1]:.1f} %" for s in total[:-1]), ""])
    table(rows)


def talks(some: Material, minutes: float, rng: np.random.Generator) -> list[Sound]:
    """Return clean speech of voices that were kept out, in pieces of about 20 s with pauses between clips."""
    pieces = []
    for _ in range(round(minutes * 3)):
        parts: list[Sound] = []
        while sum(map(len, parts)) < 20 * RATE:
            x = some.speech[int(rng.integers(len(some.speech)))].x.astype(np.float64)
            parts += [sounds.level(x[: 10 * RATE], -24), np.zeros(int(rng.uniform(0.3, 1.5) * RATE))]
        pieces.append(np.concatenate(parts)[: 20 * RATE])
    return pieces


def known(x: Sound) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which intervals of clean speech are speech, and for which of them this is certain.

    Speech is less than 25 dB below the loudest; certain silence is 45 dB below it for 50 ms around; between them it is
    unclear.
    """
    e = (x.reshape(-1, INTERVAL) ** 2).mean(1) / max(voiced_power(x), 1e-12)
    loud, quiet = e > 10**-2.2, e < 10**-4.0
    around = np.convolve(quiet, np.ones(5), "same") > 4.5
    return loud, loud | around


def noises(some: Material, n: int, rng: np.random.Generator) -> dict[str, Sound]:
    """Return noises to mix speech with."""
    seconds, seed = n / RATE, int(rng.integers(1 << 30))
    return {
        "white": sounds.white(seconds, seed)[:n],
        "pink": sounds.coloured(seconds, seed, 1)[:n],
        "street": sounds.street(seconds, seed)[:n],
        "babble": babble(some.speech, rng, n),
        "music": sounds.music(seconds + 1, seed, bpm=rng.uniform(70, 130))[:n],
    }


def speech_tables(
    classifier: Classifier, found: list[Judge], some: Material, minutes: float
) -> dict[str, dict[str, Scored]]:
    """Print how much of speech is heard, clean and in noise, and the area under the curve; return what curves to
    draw."""
    rng = np.random.default_rng(7)
    pieces = talks(some, minutes, rng)
    said: dict[tuple[str, int | None], NDArray[np.float64]] = {}
    scores: dict[tuple[str, int | None], list[list[Scores]]] = {}
    truth: list[NDArray[np.bool_]] = []
    for clean in pieces:
        loud, certain = known(clean)
        truth.append(loud[certain])
        line = 1e-4 * rng.normal(0, 1, len(clean))
        cases: dict[tuple[str, int | None], Sound] = {("clean", None): clean + line}
        for name, noise in noises(some, len(clean), rng).items():
            for snr in (20, 10, 5, 0):
                cases[name, snr] = sounds.in_noise(clean, noise, snr)
        for case, x in cases.items():
            heard = whole(x)
            of = [j.scores(heard) for j in found]
            row = [*(float((s > j.threshold).sum()) for s, j in zip(of, found, strict=True))]
            row.append(float(voiced(classifier, heard).sum()))
            said[case] = said.get(case, np.zeros(len(row))) + row
            scores.setdefault(case, [[] for _ in found])
            for s, kept in zip(of, scores[case], strict=True):
                kept.append(s[certain])
    clean_said, every = said["clean", None], sum(len(p) for p in pieces) / INTERVAL
    names = [j.name for j in found] + ["votes"]
    print(f"{every * 0.025 / 60:.0f} minutes of speech of {len(some.speech)} clips that were kept out.\n")
    rows = [["speech in", "dB", *names]]
    rows.append(["clean, of all the time", "", *(f"{100 * s / every:.1f} %" for s in clean_said)])
    reference = clean_said[1] if len(found) > 1 else clean_said[0]
    rows.append([f"clean, of {names[1]}'s time", "", *(f"{100 * s / reference:.1f} %" for s in clean_said)])
    for (name, snr), row in said.items():
        if snr is not None:
            rows.append(
                [name, str(snr), *(f"{100 * s / c:.0f} %" for s, c in zip(row, clean_said, strict=True))]
            )
    table(rows)
    known_speech = np.concatenate(truth)
    rows = [["area under the curve, speech in", "dB", *names[:-1]]]
    everything: list[list[Scores]] = [[] for _ in found]
    for (name, snr), kept in scores.items():
        areas = [area(np.concatenate(s), known_speech) for s in kept]
        rows.append([name, "" if snr is None else str(snr), *(f"{a:.4f}" for a in areas)])
        for s, all_ in zip(kept, everything, strict=True):
            all_ += s
    together = np.tile(known_speech, len(scores))
    rows.append(["all together", "", *(f"{area(np.concatenate(s), together):.4f}" for s in everything)])
    table(rows)
    panels: dict[str, dict[str, Scored]] = {"all together": {}}
    for judge, parts in zip(found, everything, strict=True):
        panels["all together"][judge.name] = np.concatenate(parts), together
    for case in (("clean", None), ("street", 5), ("music", 10)):
        title = case[0] if case[1] is None else f"in {case[0]}, {case[1]} dB"
        panels[title] = {
            judge.name: (np.concatenate(parts), known_speech)
            for judge, parts in zip(found, scores[case], strict=True)
        }
    return panels


def time_table(classifier: Classifier, found: list[Judge]) -> None:
    """Print processor time."""
    x = whole(sounds.in_noise(sounds.speech("us-1 uk-1 us-2"), sounds.white(40, 1), 20))
    rows = [["", "us of processor time per 25 ms"]]
    for judge in found:
        judge.scores(x)
        begun = time.process_time()
        judge.scores(x)
        rows.append(
            [f"{judge.name}, one stream at a time", f"{(time.process_time() - begun) / len(x) * 200e6:.1f}"]
        )
    weights = detector_of(classifier.checkpoint.model)
    assert weights is not None
    for streams, h in ((1, 4), (64, 4), (1024, 4)):
        detector, slots = Detector(weights, streams, 8), np.arange(streams)
        samples = np.random.default_rng(0).normal(0, 0.1, (streams * h, INTERVAL)).astype(np.float32)
        # The front end has these for every model.
        energy = np.einsum("ni,ni->n", samples, samples, dtype=np.float64)

        def hear(d: Detector = detector, at: Ints = slots, x: Floats = samples, e: Scores = energy) -> None:
            d.push(at, bands.levels(x, e).reshape(len(at), -1, bands.BANDS))

        rows.append(
            [f"streamcab in the engine, {streams} x {h} intervals a pass", f"{spent(hear, streams * h):.2f}"]
        )
    model = classifier.checkpoint.model
    calls = Calls(model, make_backend("auto", model, 64), 64, RATE)

    def whole_pass() -> None:
        calls.capture(4)
        calls.advance()

    rows.append(["a whole pass of the model, 64 x 4 intervals", f"{spent(whole_pass, 256):.2f}"])
    table(rows)


def spent(f: Callable[[], object], count: int) -> float:
    """Measure the processor time of f in us for each of `count`: the median of a second."""
    f()
    took: list[float] = []
    while sum(took) < 1.0 or len(took) < 8:
        begun = time.process_time()
        f()
        took.append(time.process_time() - begun)
    return float(np.median(took)) / count * 1e6


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--judge", help="a corpus that was given to `gather --judge`, by its folder's name")
    parser.add_argument("--plot", type=Path, help="an SVG for the curves")
    parser.add_argument("--only-time", action="store_true", help="no table but that of processor time")
    args = parser.parse_args()
    classifier = load(args.model, "cpu")
    found = judges(classifier)
    if not args.only_time:
        sounds_table(classifier, found, args.folder)
        some = material(args.folder, args.judge or "test", "test")
        panels = speech_tables(classifier, found, some, args.minutes)
        if args.plot is not None:
            draw(args.plot, panels)
    time_table(classifier, found)


if __name__ == "__main__":
    main()
