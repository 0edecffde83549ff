"""Finds the same recording twice by its sound: under another name, as a copy, or in another format.

Two clips are twins if their samples are the same in 16 bits, or nearly so, as when one of them has 24; or if they are
equally long and their levels rise and fall together, as in a recording through another codec, but never in two
recordings of one text. Twins are always in one part of a split. A model's card remembers the recordings of its training
as salted hashes, so that a corpus cannot be looked up in it. Knows nothing of models or of how features are computed.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.errors import CorpusError
from streamcab_train.manifest import Clip

SHORTEST = 80
"""Intervals, 2 s: of shorter clips only the samples are compared."""
LENGTHS = 0.01
"""By how much of their length twins may differ."""
POINTS = 64
"""Of an envelope, for a first look."""
ALIKE, SURE = 0.7, 0.85
"""Correlation of envelopes, at a first look and in full. Of 726 pairs of equally long readings of one text it is 0.45
at most; of recordings with themselves through Opus, MP3, GSM, noise at 20 dB or another rate 0.94 at least."""
FINE = 0.7
"""Correlation of what envelopes of 2.5 ms hold beside those of 25 ms: the same syllables in another voice have none.
0.07 at most of other readings, 0.92 at least of recordings with themselves through a codec or in noise."""
PARTS = 10
"""Of an interval, for that."""
LAGS = 8
"""Intervals by which a codec may delay."""
BLOCK = 256
SHOWN = 8

PARTS_OF_ALL = 48
"""Seconds of a recording, whose levels identify it if its last bits differ."""
SWING_DB = 6.0
"""Between its loudest and its softest part, at least: steady noise is like any other."""

Floats = NDArray[np.float32]


def fingerprint(samples: NDArray[np.float32], rate: int) -> str:
    """Return a fingerprint of samples (n,): 32 hex digits of the samples in 16 bits, and twice 32 of their levels.

    Levels are rounded to dB twice, once shifted by a half: rounding of the samples may move a level over an edge of one
    grid, but hardly ever of both.
    """
    whole = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    marks = [_mark(rate, whole.tobytes())]
    if len(samples) >= PARTS_OF_ALL:
        power = np.array([np.mean(p**2) for p in np.array_split(samples.astype(np.float64), PARTS_OF_ALL)])
        level = 10 * np.log10(power + 1e-4 * power.max() + 1e-12)
        if np.ptp(level) >= SWING_DB:
            size = len(samples).to_bytes(8, "little")
            marks += [_mark(rate, size + np.floor(level + k).astype("<i2").tobytes()) for k in (0.0, 0.5)]
    return "-".join(marks)


def _mark(rate: int, what: bytes) -> str:
    return hashlib.blake2b(rate.to_bytes(4, "little") + what, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Twins:
    """For each of some clips, the number of the first clip that is the same recording; its own if there is none.

    Attributes:
        near: Whether it is the same by its envelope only.
    """

    first: tuple[int, ...] = ()
    near: tuple[bool, ...] = ()

    @property
    def count(self) -> int:
        """Clips that are another once more."""
        return sum(i != k for i, k in enumerate(self.first))

    def in_words(self, clips: Sequence[Clip]) -> str:
        """Return one line with the rows; empty when there are none."""
        if not self.count:
            return ""
        pairs = []
        for i, k in enumerate(self.first):
            if i != k:
                a, b = clips[k], clips[i]
                other = [f"{x}/{y}" for x, y in ((a.label, b.label), (a.speaker, b.speaker)) if x != y]
                sign = "like" if self.near[i] else "is"
                pairs.append(f"{b.row} {sign} {a.row}" + (f" ({', '.join(other)})" if other else ""))
        more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        what = "1 recording is" if len(pairs) == 1 else f"{len(pairs)} recordings are"
        return f"{what} the same as others (row {', row '.join(pairs[:SHOWN])}{more})"


def find_twins(fingerprints: Sequence[str], heard: Callable[[int], Floats]) -> Twins:
    """Find the twins among some clips: their fingerprints, and what the net hears of each, (K intervals, I)."""
    envelopes = [heard(i).mean(1) for i in range(len(fingerprints))]
    first = list(range(len(fingerprints)))
    near = [False] * len(first)
    by_samples: dict[str, int] = {}
    for i, told in enumerate(fingerprints):
        marks = told.split("-")
        first[i] = min((by_samples[mark] for mark in marks if mark in by_samples), default=i)
        for mark in marks:
            by_samples.setdefault(mark, first[i])
    own = [i for i, k in enumerate(first) if i == k and len(envelopes[i]) >= SHORTEST]
    for a, b in _alike(own, envelopes):
        if first[b] == b and _together(_fine(heard(a)), _fine(heard(b)), LAGS * PARTS) > FINE:
            first[b], near[b] = first[a], True
    # A twin of a twin is one of the first.
    for i in range(len(first)):
        while first[first[i]] != first[i]:
            first[i] = first[first[i]]
    return Twins(tuple(first), tuple(near))


def _alike(own: Sequence[int], envelopes: Sequence[Floats]) -> Iterable[tuple[int, int]]:
    """Yield pairs, the earlier clip first, that are equally long and rise and fall together."""
    order = sorted(own, key=lambda i: len(envelopes[i]))
    if len(order) < 2:
        return
    length = np.array([len(envelopes[i]) for i in order])
    look = np.stack([_look(envelopes[i]) for i in order])
    for at in range(0, len(order), BLOCK):
        end = min(at + BLOCK, len(order))
        last = int(np.searchsorted(length, length[end - 1] * (1 + LENGTHS), side="right"))
        same = look[at:end] @ look[at:last].T
        for j, k in zip(*np.nonzero(same > ALIKE), strict=True):
            if k > j and length[at + k] <= length[at + j] * (1 + LENGTHS):
                a, b = sorted((order[at + j], order[at + k]))
                if _together(envelopes[a], envelopes[b]) > SURE:
                    yield a, b


def _look(envelope: Floats) -> Floats:
    """Return its outline, of POINTS points: mean 0 and norm 1."""
    smooth = np.convolve(envelope, np.ones(5) / 5, "same")
    outline = np.interp(np.linspace(0, len(smooth) - 1, POINTS), np.arange(len(smooth)), smooth)
    outline -= outline.mean()
    return np.asarray(outline / max(float(np.linalg.norm(outline)), 1e-9), np.float32)


def _fine(x: Floats) -> Floats:
    """Return how the level moves within each interval, PARTS values of each."""
    part = max(x.shape[1] // PARTS, 1)
    level = x[:, : x.shape[1] // part * part].reshape(len(x), -1, part).mean(2)
    moved: Floats = (level - level.mean(1, keepdims=True)).ravel()
    return moved


def _together(a: Floats, b: Floats, lags: int = LAGS) -> float:
    """Return the largest correlation of two envelopes, one shifted against the other by up to `lags` points."""
    n = min(len(a), len(b)) - 2 * lags
    own = b[lags : lags + n].astype(np.float64)
    own -= own.mean()
    best = 0.0
    for lag in range(2 * lags + 1):
        other = a[lag : lag + n].astype(np.float64)
        other -= other.mean()
        scale = np.sqrt((own @ own) * (other @ other))
        best = max(best, float(own @ other / scale)) if scale > 0 else best
    return best


def units(clips: Sequence[Clip], twins: Twins | None, shared: bool) -> list[Hashable]:
    """Return what must stay in one part, for each clip: its speaker, or with `shared` the clip; joined with its
    twins."""
    own: list[Hashable] = [i if shared else clip.speaker for i, clip in enumerate(clips)]
    if twins is None or not twins.count:
        return own
    root: dict[Hashable, Hashable] = {}

    def of(unit: Hashable) -> Hashable:
        while unit in root:
            unit = root[unit]
        return unit

    for i, k in enumerate(twins.first):
        a, b = of(own[k]), of(own[i])
        if a != b:
            root[b] = a
    return [of(unit) for unit in own]


def check_sides(clips: Sequence[Clip], parts: Sequence[str], twins: Twins) -> None:
    """Raise CorpusError when a recording stands on two sides of a split that the manifest makes."""
    sides: dict[int, list[int]] = defaultdict(list)
    for i, k in enumerate(twins.first):
        sides[k].append(i)
    for k, members in sides.items():
        for i in members:
            if parts[i] != parts[k]:
                raise CorpusError(
                    f"row {clips[i].row} is the same recording as row {clips[k].row}, and one is for {parts[i]}, the "
                    f"other for {parts[k]}: the scores would be of what was taught; leave one out"
                )


def taught_on(fingerprints: Iterable[str], salt: str) -> dict[str, Any]:
    """Return for a card the recordings that a model was trained on, hashed with a `salt` of this model alone."""
    marks = (mark for told in fingerprints for mark in told.split("-"))
    return {"salt": salt, "recordings": sorted({_salted(mark, salt) for mark in marks})}


def was_taught(card: dict[str, Any], told: str) -> bool:
    """Return whether a model was trained on this recording, as far as its card tells."""
    memory = card.get("taught_on")
    if not isinstance(memory, dict):
        return False
    salt, recordings = str(memory.get("salt")), set(memory.get("recordings", ()))
    return not recordings.isdisjoint(_salted(mark, salt) for mark in told.split("-"))


def _salted(mark: str, salt: str) -> str:
    return hashlib.blake2b(mark.encode(), key=salt.encode()[:64], digest_size=6).hexdigest()
