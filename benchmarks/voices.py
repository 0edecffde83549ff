"""Voices on a line: how soon another one has its own answer, and how often one voice is taken for two.

    python benchmarks/voices.py MODEL --config configs/context.toml --data MANIFEST..

On the voices that judge and the accents left out, by the recipe's draw. Pairs: two voices end to end. The new one has
its own answer when the number of the voice has changed and the window holds (to half a second) votes of the new one
only. False changes are counted in one voice at a time, its clips end to end, by corpus. Everything goes through the
windows that a stream has; the lag of the net counts.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from streamcab_train.context_keys import read_context
from streamcab_train.voices import Voice, deal, read_voices

import streamcab
from streamcab.classifier import Classifier
from streamcab.config.tree import Answers
from streamcab.inference.engine_output import voting
from streamcab.inference.offline import intervals
from streamcab.inference.window import Window, window_of
from streamcab.nn.weights import detector_of
from streamcab.source.file import read_audio

RATE, WINDOW_S = 8000, 30.0
TURN_S, LEAST_S = 12.0, 8.0
"""Of each voice of a pair; a voice with less than the second of its clips is in none."""
LOOKS_S = (2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
ASKED_S = 5.0
STEP = 4
"""Intervals between two looks at a window."""
STRAY_S = 0.5
DECISION = 4
"""Intervals after which the speech detector says what one was."""
MOST_S = 120.0
"""Of one voice alone."""
SLOT = np.zeros(1, np.intp)

Floats = NDArray[np.float32]


class Ears:
    """The net, and windows that are told what it heard."""

    def __init__(self, model: Classifier, voices: int) -> None:
        self._model, self._voices = model, voices
        arch = model.architecture
        self.second, self.lag = arch.intervals(1.0), arch.delay + DECISION
        self.confidence = model.checkpoint.confidence

    def windows(self, x: Floats) -> Iterator[tuple[int, int, Window, Window]]:
        """Yield after each STEP intervals of samples (n,): how many there were, how many of them voted, the window
        of so many voices, and one that tells none apart."""
        model, arch = self._model, self._model.architecture
        answered, heard = intervals(model.runtime_of_voices, x, RATE, detector_of(model.checkpoint.net))
        votes = voting(heard.kind[0], arch.gate)
        length = arch.intervals(WINDOW_S)
        both = [window_of(model.checkpoint.net, 1, length, most) for most in (self._voices, 1)]
        for k in range(0, len(votes), STEP):
            part = slice(k, k + STEP)
            kinds = heard.kind[:, part], heard.power[:, part], heard.wide[:, part]
            c, alpha, u = (a[None, part] for a in (answered.averaged, answered.alpha, answered.u))
            for window in both:
                window.add(SLOT, np.array([k]), c, alpha, votes[None, part], u, kinds)
            end = min(k + STEP, len(votes))
            yield end, int(votes[:end].sum()), *both


def speech_of(clips: Sequence[Voice], seconds: float) -> Floats:
    """Return so much of the clips of one voice, end to end; less where there is no more."""
    parts: list[Floats] = []
    for clip in clips:
        x, rate = read_audio(clip.path)
        assert rate == RATE, f"{clip.path} has {rate} Hz"
        parts.append(x)
        if sum(map(len, parts)) >= seconds * RATE:
            break
    return np.concatenate(parts)[: round(seconds * RATE)]


def top(window: Window) -> int:
    """Return the label that leads, -1 where nothing voted."""
    mean, votes = window.mean(SLOT)
    return int(mean[0].argmax()) if votes[0] else -1


def pairs(ears: Ears, voices: dict[str, list[Voice]], count: int, seed: int) -> None:
    """Print how soon the second of two voices has its own answer."""
    rng = np.random.default_rng(seed)
    known = {name: x for name, own in voices.items() if len(x := speech_of(own, TURN_S)) >= LEAST_S * RATE}
    names = sorted(known)
    own, same, mixed, early = np.zeros((count, len(LOOKS_S)), np.bool_), 0, 0, 0
    for i in range(count):
        first, second = (known[names[j]] for j in rng.choice(len(names), 2, replace=False))
        seam = len(first) * ears.second // RATE
        looks = [round(seam + at * ears.second) - ears.lag for at in LOOKS_S]
        asked = looks[LOOKS_S.index(ASKED_S)]
        alone = next(top(plain) for k, _, _, plain in ears.windows(second) if k >= asked - seam)
        number, before = 1, 0
        for k, voted, window, plain in ears.windows(np.concatenate((first, second))):
            reading = window.read(SLOT, attention=False)
            if k <= seam:
                number, before = int(reading.voice[0]), voted
                early += number > 1 and k + STEP > seam
            while looks and k >= looks[0]:
                holds = int(reading.votes[0]) <= voted - before + STRAY_S * ears.second
                own[i, -len(looks)] = int(reading.voice[0]) != number and holds
                if looks.pop(0) == asked:
                    same, mixed = same + (top(window) == alone), mixed + (top(plain) == alone)
            if not looks:
                break
    print(f"{count} pairs of {len(names)} voices; the new one has its own answer")
    for at, share in zip(LOOKS_S, own.mean(0), strict=True):
        print(f"  {at:4.0f} s after it began: {share:.1%}")
    print(f"  after {ASKED_S:.0f} s its label is what it gets alone: {same / count:.1%}")
    print(f"  the same with one window for both: {mixed / count:.1%}")
    print(f"  the first had been taken for two: {early}")


def single(ears: Ears, voices: dict[str, list[Voice]]) -> None:
    """Print how often one voice is taken for another, by corpus."""
    for corpus in sorted({own[0].corpus for own in voices.values()}):
        changes, seconds, groups = 0, 0.0, 0
        for own in voices.values():
            if own[0].corpus != corpus or len(x := speech_of(own, MOST_S)) < LEAST_S * RATE:
                continue
            number = 1
            for _, _, window, _ in ears.windows(x):
                changes += (now := int(window.read(SLOT, attention=False).voice[0])) != number
                number = now
            groups, seconds = groups + 1, seconds + len(x) / RATE
        if groups:
            often = 600 * changes / seconds
            print(
                f"{corpus}: {changes} changes in {seconds:.0f} s of {groups} voices, {often:.2f} in 10 minutes"
            )


def main() -> None:
    """Run the command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("model")
    words.add_argument("--config", type=Path, required=True)
    words.add_argument("--data", type=Path, nargs="+", required=True)
    words.add_argument("--pairs", type=int, default=500)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--voices", type=int, default=max(Answers().voices, 2))
    given = words.parse_args()
    keys = read_context(given.config)
    classes = {accent: keys.labels.index(name) for accent, name in keys.classes.items()}
    clips = [voice for manifest in given.data for voice in read_voices(manifest, classes)]
    parts = deal(clips, keys.seed, strangers=keys.strangers, left_out=keys.left_out)
    voices: dict[str, list[Voice]] = {}
    for clip, judges in zip(clips, parts.judges | parts.left_out, strict=True):
        if judges:
            voices.setdefault(clip.group, []).append(clip)
    ears = Ears(streamcab.load(given.model), given.voices)
    pairs(ears, voices, given.pairs, given.seed)
    single(ears, voices)


if __name__ == "__main__":
    main()
