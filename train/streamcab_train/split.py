"""The split of a corpus: clips to train on, clips that choose the epoch, and clips for the test.

Split by speaker: all clips of a voice are in one part, or else the score would measure how well voices are remembered.
Stratified by class, and seeded. Split by clip, as in the paper, only on request, and labelled so. Knows nothing of
files.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from streamcab.errors import CorpusError
from streamcab_train.manifest import PARTS, Clip
from streamcab_train.recipe_keys import SplitKeys
from streamcab_train.twins import Twins, check_sides, units

DISJOINT = "speaker-disjoint"
SHARED = "speakers shared"


def split_clips(
    clips: Sequence[Clip], keys: SplitKeys, *, shared: bool = False, twins: Twins | None = None
) -> list[str]:
    """Return the part of each clip: that of its row, if the manifest has a split, or else drawn from the seed.

    Args:
        clips: The clips.
        keys: Shares of the parts, and the seed.
        shared: Draw clip by clip, whoever speaks.
        twins: Clips that are the same recording, which stay together.

    Raises:
        CorpusError: A speaker (unless `shared`) or a recording is in two parts, or a class is too small for all parts.
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
    """Check that no speaker is in two parts.

    Raises:
        CorpusError: One is.
    """
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
    """Return the part of each clip in each fold: every speaker is tested in exactly one fold.

    Args:
        clips: The clips.
        keys: Shares and seed; the clips that a fold does not test are split into train and validation in their
            proportion.
        folds: Number of folds.
        repeat: Each repeat deals the speakers anew.
        twins: Clips that are the same recording, which stay together.

    Raises:
        CorpusError: A class has too few speakers for a part of some fold.
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
    """Deal out units, the largest first, each to the share that lacks most; return the share of each clip."""
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
            # The last ones fill the empty parts.
            open_to = sorted(empty) if len(order) - n <= len(empty) else range(len(shares))
            best = max(open_to, key=lambda p: lacks[p])
            lacks[best] -= len(members)
            empty.discard(best)
            for i in members:
                given[i] = best
    return given
