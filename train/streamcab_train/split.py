"""Which clips are trained on, which choose the epoch, and which are kept to be judged by.

By speaker: all clips of a voice stand on one side, or the score says how well voices are remembered.
Stratified by class, seeded. By clip only when it is asked for, as the paper did, and called so. Knows nothing
of files.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from streamcab.errors import CorpusError
from streamcab_train.manifest import PARTS, Clip
from streamcab_train.recipe import SplitKeys
from streamcab_train.twins import Twins, check_sides, units

DISJOINT = "speaker-disjoint"
SHARED = "speakers shared"


def split_clips(
    clips: Sequence[Clip], keys: SplitKeys, *, shared: bool = False, twins: Twins | None = None
) -> list[str]:
    """The part of each clip: that of its row, where the manifest splits, else drawn from the seed.

    shared  draw clip by clip, whoever speaks. Else CorpusError when a speaker stands on two sides
    twins   clips that are the same recording, which stand on one side; CorpusError where the manifest has it otherwise

    CorpusError also when a class has too little to be in all parts.
    """
    parts = [clip.part for clip in clips]
    if not all(parts):
        parts = _draw(clips, keys, units(clips, twins, shared))
    if not shared:
        check_disjoint(clips, parts)
    if twins is not None:
        check_sides(clips, parts, twins)
    for label in dict.fromkeys(clip.label for clip in clips):
        for part in PARTS:
            if not any(c.label == label and p == part for c, p in zip(clips, parts, strict=True)):
                voices = len({c.speaker for c in clips if c.label == label})
                raise CorpusError(
                    f"class {label!r} has no speaker in {part}; it has {voices} speakers, and needs at least one in "
                    f"each of {', '.join(PARTS)}"
                )
    return parts


def check_disjoint(clips: Sequence[Clip], parts: Sequence[str]) -> None:
    """CorpusError when a speaker stands on two sides."""
    side: dict[str, tuple[str, int]] = {}
    for clip, part in zip(clips, parts, strict=True):
        other, row = side.setdefault(clip.speaker, (part, clip.row))
        if other != part:
            raise CorpusError(
                f"speaker {clip.speaker!r} is in {other} (row {row}) and in {part} (row {clip.row}): the "
                "scores would be for known speakers; add --allow-shared-speakers if that is intended"
            )


def _draw(clips: Sequence[Clip], keys: SplitKeys, own: Sequence[Hashable]) -> list[str]:
    shares = [getattr(keys, part) for part in PARTS]
    return [PARTS[i] for i in _deal(clips, shares, np.random.default_rng([keys.seed, 1]), own)]


def fold_clips(
    clips: Sequence[Clip], keys: SplitKeys, folds: int, repeat: int, twins: Twins | None = None
) -> list[list[str]]:
    """The part of each clip in each fold: every speaker is tested in one fold, and in no other.

    What a fold does not test is split into train and validation in the proportion of `keys`. Each `repeat` deals
    the speakers anew. CorpusError when a class has too few for a part of some fold.
    """
    for label in dict.fromkeys(clip.label for clip in clips):
        voices = len({c.speaker for c in clips if c.label == label})
        if voices < folds or voices - -(-voices // folds) < 2:
            raise CorpusError(
                f"class {label!r} has {voices} speakers: too few for {folds} folds, each of which needs one to "
                "test, one to validate and one to train"
            )
    rng = np.random.default_rng([keys.seed, 5, repeat])
    own = units(clips, twins, shared=False)
    tested_in = _deal(clips, [1 / folds] * folds, rng, own)
    found = []
    for fold in range(folds):
        parts = ["test"] * len(clips)
        rest = [i for i, k in enumerate(tested_in) if k != fold]
        shares = np.array([keys.train, keys.validation]) / (keys.train + keys.validation)
        dealt = _deal([clips[i] for i in rest], shares.tolist(), rng, [own[i] for i in rest])
        for i, part in zip(rest, dealt, strict=True):
            parts[i] = PARTS[part]
        check_disjoint(clips, parts)
        found.append(parts)
    return found


def _deal(
    clips: Sequence[Clip], of: Sequence[float], rng: np.random.Generator, own: Sequence[Hashable]
) -> list[int]:
    """Give away units, the biggest first, each to the share that lacks most; the share of each clip."""
    together: dict[Hashable, list[int]] = defaultdict(list)
    for i, unit in enumerate(own):
        together[unit].append(i)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for members in together.values():
        # A speaker with two labels counts as the more frequent one.
        label = Counter(clips[i].label for i in members).most_common(1)[0][0]
        strata[label].append(members)
    shares = np.array(of)
    given = [-1] * len(clips)
    for label in sorted(strata):
        rows = sorted(strata[label], key=lambda members: clips[members[0]].path)
        order = [rows[i] for i in rng.permutation(len(rows))]
        order.sort(key=len, reverse=True)
        lacks = shares * sum(len(members) for members in order)
        empty = set(range(len(shares)))
        for n, members in enumerate(order):
            # The last ones go where nobody is yet.
            open_to = sorted(empty) if len(order) - n <= len(empty) else range(len(shares))
            best = max(open_to, key=lambda p: lacks[p])
            lacks[best] -= len(members)
            empty.discard(best)
            for i in members:
                given[i] = best
    return given
