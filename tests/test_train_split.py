"""Splits: no voice on two sides, shares as asked, the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamcab_train.manifest import PARTS, Clip
from streamcab_train.recipe_keys import SplitKeys
from streamcab_train.split import split_clips

from streamcab.errors import CorpusError


def clips_of(sizes: dict[str, list[int]], part: str = "") -> list[Clip]:
    """For each class, one speaker for each number, with so many clips."""
    voices = [(label, n, count) for label, counts in sizes.items() for n, count in enumerate(counts)]
    found = [(label, n, i) for label, n, count in voices for i in range(count)]
    return [Clip(f"{a}{n}_{i}.wav", a, f"{a}{n}", part, row) for row, (a, n, i) in enumerate(found, 2)]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=40), min_size=2, max_size=4),
    st.integers(0, 5),
)
def test_each_voice_is_on_one_side_and_each_class_on_all(counts: list[list[int]], seed: int) -> None:
    clips = clips_of({f"c{i}": sizes for i, sizes in enumerate(counts)})
    parts = split_clips(clips, SplitKeys(seed=seed))
    sides: dict[str, set[str]] = {}
    for clip, part in zip(clips, parts, strict=True):
        sides.setdefault(clip.speaker, set()).add(part)
    assert all(len(side) == 1 for side in sides.values())
    assert len({(clip.label, part) for clip, part in zip(clips, parts, strict=True)}) == 3 * len(counts)


def test_shares_are_those_of_the_papers_table_1() -> None:
    clips = clips_of({"us": [1] * 646, "au": [1] * 764})
    parts = split_clips(clips, SplitKeys())
    count = Counter((c.label, p) for c, p in zip(clips, parts, strict=True))
    assert count["us", "test"] == 194
    assert abs(count["au", "test"] - 230) <= 1
    assert abs(count["us", "train"] - 0.6 * 646) <= 1


def test_big_voices_do_not_upset_the_shares() -> None:
    clips = clips_of({"us": [200, 150] + [1] * 300, "uk": [5] * 30})
    parts = split_clips(clips, SplitKeys())
    share = Counter(p for c, p in zip(clips, parts, strict=True) if c.label == "us")
    assert [share[p] / 650 for p in PARTS] == pytest.approx([0.6, 0.1, 0.3], abs=0.01)


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    clips = clips_of({"us": [1] * 50, "uk": [1] * 50})
    parts = split_clips(clips, SplitKeys(seed=1))
    assert parts == split_clips(clips, SplitKeys(seed=1))
    assert parts != split_clips(clips, SplitKeys(seed=2))
    turned = split_clips(clips[::-1], SplitKeys(seed=1))
    assert turned[::-1] == parts


def test_too_few_speakers_of_a_class_are_refused() -> None:
    with pytest.raises(CorpusError, match="class 'uk' has no speaker in validation; it has 2 speakers"):
        split_clips(clips_of({"us": [1] * 9, "uk": [9, 9]}), SplitKeys())


def test_shared_speakers_are_split_by_clip() -> None:
    clips = clips_of({"us": [50, 50], "uk": [50, 50]})
    parts = split_clips(clips, SplitKeys(), shared=True)
    assert len({(c.speaker, p) for c, p in zip(clips, parts, strict=True)}) == 12


def test_a_manifest_that_splits_a_voice_is_refused_unless_that_is_meant() -> None:
    clips = [c for part in PARTS for c in clips_of({"us": [1], "uk": [1]}, part)]
    with pytest.raises(CorpusError, match=r"speaker 'us0' is in train \(row 2\) and in validation \(row 2\)"):
        split_clips(clips, SplitKeys())
    assert split_clips(clips, SplitKeys(), shared=True) == [c.part for c in clips]
