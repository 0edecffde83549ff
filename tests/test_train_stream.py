"""Streaming: a row follows from seed, step and number alone, whoever draws it, from a window that does not grow."""

from itertools import chain, islice

import msgspec
import numpy as np
import pytest
from accents import KEYS, encode, make_accents
from streamcab_train.context_keys import StageKeys
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.hearing import Hearing
from streamcab_train.pupil import Pupil
from streamcab_train.rows import Row
from streamcab_train.shards import deal_shards, hear_shards, read_means
from streamcab_train.stream import LANES, Corpus, Stream, Streamed, batches
from streamcab_train.voices import Parts, deal, read_voices

from streamcab.errors import ConfigError

STAGE = StageKeys(
    "labels", steps=6, learning_rate=1e-3, frames=1.0, opinion=1.0, label=1.0, intervals=400, shaken=True
)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Parts, np.ndarray]:
    """A corpus, who teaches, and opinions that tell a clip's number."""
    folder = tmp_path_factory.mktemp("voices")
    voices = read_voices(make_accents(folder, voices=6), {"us": 0, "england": 1})
    parts = deal(voices, 0, strangers=KEYS.strangers, left_out=KEYS.left_out)
    shards = deal_shards(voices, parts.teaches, 3, KEYS.seed)
    hear_shards(voices, parts, shards, encode, KEYS, folder / "targets", lambda _: None)
    _, length = read_means(folder / "targets", shards, len(voices))
    hearing = Hearing([v.path for v in voices], KEYS.architecture, None, 0.5, KEYS.seed)
    seconds = (length / 50).astype(np.float32)
    told = np.full((len(voices), 3), 1 / 3, np.float32)
    return Corpus(voices, shards, folder / "targets", 50, seconds, hearing), parts, told


def stream(
    heard: tuple[Corpus, Parts, np.ndarray],
    begun: int = 0,
    ranks: ProcessGroup = ALONE,
    stage: StageKeys = STAGE,
) -> Stream:
    return Stream(Streamed(*heard, stage, KEYS), stage, KEYS, begun, ranks)


def same(one: Row, other: Row) -> bool:
    return np.array_equal(one.x, other.x) and np.array_equal(one.frames, other.frames)


def test_rows_are_the_same_from_any_step_on(heard: tuple[Corpus, Parts, np.ndarray]) -> None:
    whole, later = list(stream(heard)), list(stream(heard, begun=4))
    assert len(later) == 2
    for rows, again in zip(whole[4:], later, strict=True):
        assert len(rows) > 1
        assert all(k == n and same(row, other) for (k, row), (n, other) in zip(rows, again, strict=True))
    assert not same(whole[0][0][1], whole[1][0][1])


def test_processes_have_equal_shares_of_the_rows_of_one(heard: tuple[Corpus, Parts, np.ndarray]) -> None:
    shares = [list(stream(heard, ranks=ProcessGroup(rank, 2))) for rank in (0, 1)]
    alone = list(stream(heard))
    compared = 0
    for step in range(STAGE.steps):
        a, b = shares[0][step], shares[1][step]
        assert len(a) == len(b)
        assert sum(r.label is not None for _, r in a) == sum(r.label is not None for _, r in b)
        both = dict(chain(a, b))
        assert sorted(both) == list(range(len(both)))
        for k, row in alone[step]:
            if (both[k].label is None) == (row.label is None):
                assert same(both[k], row)
                compared += 1
    assert compared > STAGE.steps


def test_processes_that_cannot_share_the_lanes_are_refused(heard: tuple[Corpus, Parts, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="3 processes cannot share 8 lanes"):
        stream(heard, ranks=ProcessGroup(0, 3))


def test_workers_change_nothing(heard: tuple[Corpus, Parts, np.ndarray]) -> None:
    stage = msgspec.structs.replace(STAGE, steps=3)
    alone, shared = (list(batches(stream(heard, stage=stage), workers)) for workers in (0, 2))
    assert len(alone) == len(shared) == 3
    for one, other in zip(alone, shared, strict=True):
        assert one.x.equal(other.x)
        assert one.frames.equal(other.frames)


def test_a_lane_holds_its_window_and_reads_all_shards_as_often(
    heard: tuple[Corpus, Parts, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, parts, _ = heard
    read: list[tuple[tuple[int, ...], int]] = []
    hears = Hearing.anew

    def noted(self: Hearing, clips: list[int], time: int) -> object:
        read.append((tuple(clips), time))
        return hears(self, clips, time)

    monkeypatch.setattr(Hearing, "anew", noted)
    source = Streamed(*heard, STAGE, KEYS)
    assert KEYS.stream is not None
    for step in range(3 * source.every):
        for lane in range(LANES):
            source.rows(lane, step)
            assert len(source._held[lane]) == KEYS.stream.window
    # A shard is heard once for each time that its place comes, and each time anew.
    assert len(read) == len(set(read))
    assert set(chain.from_iterable(clips for clips, _ in read)) == set(np.flatnonzero(parts.teaches).tolist())
    times = [[clips for clips, time in read if time == t] for t in range(2)]
    assert [len(some) for some in times] == [len(corpus.shards)] * 2


def test_each_time_a_clip_is_heard_in_another_way(heard: tuple[Corpus, Parts, np.ndarray]) -> None:
    hearing = heard[0].hearing
    one, again, other = (hearing.anew([0, 1, 2, 3, 4, 5], time) for time in (1, 1, 2))
    np.testing.assert_array_equal(one.x, again.x)
    assert one.x.shape != other.x.shape or not np.array_equal(one.x, other.x)
    plain = hearing.plain([0, 1, 2, 3, 4, 5])
    same = [np.array_equal(one.clip(i)[0], plain.clip(i)[0]) for i in range(6)]
    assert any(same)
    assert not all(same)


def test_rows_of_a_distiller_are_its_own(heard: tuple[Corpus, Parts, np.ndarray]) -> None:
    stage = msgspec.structs.replace(STAGE, shaken=False)
    distiller = Pupil(KEYS.architecture, 3, 5).model.distiller
    source = Streamed(*heard, stage, KEYS, distiller)
    for rows in islice(Stream(source, stage, KEYS, 0), 2):
        assert all(row.x.shape[1] == 10 for _, row in rows)
