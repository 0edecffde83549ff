"""The engine: slots come and go, gaps are missing, losses are counted, hours leave no trace."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples
from speech import LONG_STAGES, SMALL_STAGES, Samples, detecting_model, noise, silence, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.dsp.frontend import Pooled, front_end
from streamcab.dsp.gate import MISSING, VOICED
from streamcab.dsp.normalise_offline import normalise_whole
from streamcab.inference.engine import Engine
from streamcab.inference.engine_output import EngineOutput
from streamcab.inference.offline import interval_results
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.weights import detector_of

SMALL = tiny_model(1, stages=SMALL_STAGES, classifiers=8)
HEARING = detecting_model(1, stages=SMALL_STAGES, classifiers=8)
LONG = tiny_model(1, stages=LONG_STAGES, classifiers=8)


def gather(out: list[EngineOutput], slot: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    """What was emitted of one stream, in order: index, c and kind of each interval."""
    index, c, kind = [], [], []
    for e in out:
        for row in np.flatnonzero(e.slots == slot):
            index.append(e.first[row] + np.arange(e.c.shape[1]))
            c.append(e.c[row])
            kind.append(e.kind[row])
    if not index:
        return np.zeros(0, int), np.zeros((0, 3)), np.zeros(0, int)
    k = np.concatenate(index)
    real = k >= 0
    return k[real], np.concatenate(c)[real], np.concatenate(kind)[real]


def stream(
    engine: Engine, bank: Bank, x: Samples, chunk: int, row: int = 0, finish: bool = True
) -> list[EngineOutput]:
    """Write a clip in chunks, one pass after each."""
    out = []
    for at in range(0, len(x), chunk):
        bank.write(row, x[at : at + chunk], 0.0)
        out += engine.advance()
    if finish:
        bank.finish(row)
        out += engine.advance()
    return out


def test_every_interval_comes_once_and_in_order() -> None:
    engine, bank, x = Engine(SMALL, 1), Bank(16000, 1, 64000), talk(4, 16000, seed=1)
    engine.attach(bank, 0)
    k, _, _ = gather(stream(engine, bank, x, 777))
    assert k.tolist() == list(range(160))
    assert engine.finished[0]
    assert engine.advance() == []


def test_an_answer_comes_as_soon_as_it_can() -> None:
    # Once the hold is over: one's own 25 ms, 201 pooled samples beyond it, and whole intervals only.
    engine, bank, x = Engine(SMALL, 1), Bank(8000, 1, 32000), talk(3, 8000, seed=1)
    engine.attach(bank, 0)
    newest = -1
    for at in range(0, len(x), 40):
        bank.write(0, x[at : at + 40], 0.0)
        for e in engine.advance():
            newest = int(e.first[0]) + e.c.shape[1] - 1
        written = at + 40
        if written >= 40 * 200:
            assert newest == written // 200 - 1 - engine.delay
        else:
            assert newest == -1, "a talk that begins is held for a second"


@pytest.mark.parametrize("net", [SMALL, LONG], ids=["delay 3", "delay 11"])
@pytest.mark.parametrize("intervals", [1, 3, 4, 11, 12])
def test_a_stream_begins_and_ends_with_one_step_each(
    net: CabCnn, intervals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, bank, x = Engine(net, 1), Bank(8000, 1, 32000), silence(1)
    engine.attach(bank, 0)
    begun, start = [], engine.backend.start

    def noted(slots: NDArray, x: NDArray, first: NDArray, end: NDArray) -> object:
        begun.append((int(first[0]), x.shape[1] // engine.architecture.interval))
        return start(slots, x, first, end)

    monkeypatch.setattr(engine.backend, "start", noted)
    for _ in range(intervals):
        bank.write(0, x[:200], 0.0)
        out = engine.advance()
        if begun:
            break
    first = 8 if engine.delay < 8 else 32
    if intervals <= engine.delay:
        assert begun == [], "nothing can come out of it yet"
    else:
        assert begun == [(engine.delay + 1 - first, first)], (
            "as soon as there is an answer, and past the start"
        )
        assert gather(out)[0].tolist() == [0]
    ready = min(intervals, engine.delay + 1)
    bank.write(0, x[: 200 * 7], 0.0)
    bank.finish(0)
    out += engine.advance()
    at = 0 if intervals <= engine.delay else ready
    assert begun[-1] == (at, ready + 7 - at + engine.delay)
    assert len(begun) == 1 + (at > 0)
    assert gather(out)[0].tolist() == list(range(ready + 7))


def test_silence_is_not_held_back() -> None:
    engine, bank = Engine(SMALL, 1), Bank(8000, 1, 32000)
    engine.attach(bank, 0)
    k, _, kind = gather(stream(engine, bank, silence(1), 200, finish=False))
    assert k[-1] == 39 - engine.delay
    assert not kind.any()


def test_slots_run_out_and_come_back() -> None:
    engine, bank = Engine(SMALL, 3), Bank(8000, 5, 8000)
    slots = [engine.attach(bank, row) for row in range(3)]
    assert sorted(slots) == [0, 1, 2]
    assert engine.table.free == 0
    with pytest.raises(ValueError, match="all 3 slots"):
        engine.attach(bank, 3)
    engine.detach(slots[1])
    assert engine.table.free == 1
    assert engine.attach(bank, 4) == slots[1]


@pytest.mark.parametrize("end", ["finished", "cut off while talking", "cut off in its hold"])
def test_a_reused_slot_equals_a_fresh_one(end: str) -> None:
    x = talk(2.5, 11025, seed=3)
    results = []
    for used in (False, True):
        engine = Engine(SMALL, 1)
        if used:
            old = Bank(48000, 1, 96000)
            engine.attach(old, 0)
            before = talk({"cut off in its hold": 0.6}.get(end, 3.0), 48000, seed=9, rms=0.4)
            stream(engine, old, before, 4000, finish=end == "finished")
            engine.detach(0)
        bank = Bank(11025, 1, 44100)
        engine.attach(bank, 0)
        results.append(gather(stream(engine, bank, x, 500)))
    for fresh, reused in zip(*results, strict=True):
        np.testing.assert_array_equal(reused, fresh)


def test_what_a_detached_stream_left_behind_is_not_given_to_the_next_one() -> None:
    engine, bank = Engine(SMALL, 1), Bank(8000, 2, 32000)
    slot = engine.attach(bank, 0)
    stream(engine, bank, talk(2, seed=4), 800, finish=False)
    bank.write(0, talk(1, seed=5), 0.0)
    assert engine.skip(np.array([slot]), np.array([4000])) == 4000
    engine.detach(slot)
    assert engine.attach(bank, 1) == slot
    assert engine.advance() == []


def test_attached_streams_without_samples_cost_nothing_and_say_nothing() -> None:
    engine, bank = Engine(SMALL, 4), Bank(8000, 4, 8000)
    for row in range(4):
        engine.attach(bank, row)
    assert engine.advance() == []
    bank.finish(2)
    engine.advance()
    assert engine.finished.sum() == 1


def test_a_clip_normaliser_is_refused() -> None:
    with pytest.raises(ValueError, match="clip"):
        Engine(tiny_model(0, normaliser="clip", stages=SMALL_STAGES), 1)


def test_votes_are_the_voiced_or_without_a_gate_all_that_was_heard() -> None:
    engine, bank, x = Engine(SMALL, 1), Bank(8000, 1, 64000), talk(4, 8000, seed=2)
    x[9000:9400] = np.nan
    engine.attach(bank, 0)
    out = stream(engine, bank, x, 1000)
    kind = np.concatenate([e.kind[0] for e in out])
    np.testing.assert_array_equal(np.concatenate([e.votes(True)[0] for e in out]), kind == VOICED)
    np.testing.assert_array_equal(np.concatenate([e.votes(False)[0] for e in out]), kind != MISSING)
    assert set(kind.tolist()) == {0, 1, 2}


def test_a_net_of_long_kernels_looks_far_ahead() -> None:
    assert (SMALL.architecture.delay, SMALL.architecture.memory) == (3, 8)
    assert (LONG.architecture.delay, LONG.architecture.memory) == (11, 32)


GAPS = st.sampled_from([2, 3, 7, 8, 9, 20, 31, 32, 33, 39, 40, 41, 60, 90, 1100, 1199, 1200, 1300])


def pool(x: Samples, rate: int, first: int, stop: int) -> Pooled:
    """Some intervals of a clip, zeros around it."""
    front = front_end(rate, 8000, 4000, 100, bands=True)
    a, b = front.span(first, stop - first)
    padded = np.pad(x, (max(-a, 0), max(b - len(x), 0)))
    return front.pool(padded[None, max(a, 0) : max(a, 0) + b - a], first, stop - first)


def rehearsed(engine: Engine) -> None:
    """Let the engine learn once what the net is like after a long gap."""
    bank = Bank(8000, 1, 8000)
    slot = engine.attach(bank, 0)
    engine.skip(np.array([slot]), np.array([16_000]))
    engine.detach(slot)


@pytest.mark.parametrize("known", [False, True], ids=["first gap", "later gap"])
@pytest.mark.parametrize("model", [SMALL, LONG, HEARING], ids=["delay 3", "delay 11", "detector"])
@examples(5, 12)
@given(
    rate=st.sampled_from([8000, 8000, 11025, 44100]),
    before=st.floats(0.0, 3.0),
    gap=GAPS,
    chunk=st.integers(400, 6000),
    seed=st.integers(0, 99),
)
def test_after_a_skip_all_is_as_if_the_skipped_samples_had_gone_missing(
    model: CabCnn, known: bool, rate: int, before: float, gap: int, chunk: int, seed: int
) -> None:
    past = np.concatenate([silence(0.5, rate), talk(before, rate, seed)])
    left_out = noise(gap * 0.025 + 0.1, rate, seed, rms=0.2)
    x = np.concatenate([past, left_out, talk(3, rate, seed + 1)])
    engine, bank = Engine(model, 1), Bank(rate, 1, len(x))
    if known:
        rehearsed(engine)
    slot = engine.attach(bank, 0)
    out = stream(engine, bank, past, chunk, finish=False)
    bank.write(0, x[len(past) :], 0.0)
    first = int(engine.heard[slot])
    asked = gap * rate // 40 + 1
    skipped = int(engine.skip(np.array([slot]), np.array([asked]))[0])
    start, stop = (k * 100 * rate // 4000 for k in (first, first + gap))
    assert skipped == stop - start == pytest.approx(asked, abs=2)
    assert engine.dropped[slot] == skipped
    bank.finish(0)
    out += engine.advance()

    # What came before was heard when nobody knew of the gap.
    gone = x.copy()
    gone[start:stop] = np.nan
    total = int(front_end(rate, 8000, 4000, 100).total(np.array([len(x)]))[0])
    parts = [pool(x, rate, 0, first), pool(gone, rate, first, total)]
    heard = normalise_whole(
        Pooled(
            np.concatenate([p.maxima for p in parts], 1),
            np.concatenate([p.count for p in parts]),
            np.concatenate([p.sum for p in parts], 1),
            np.concatenate([p.square for p in parts], 1),
            np.concatenate([p.missing for p in parts], 1),
            np.concatenate([p.levels for p in parts], 1),
        ),
        0.025,
        "running",
        detector_of(model),
    )
    assert (heard.kind[0, first : first + gap] == MISSING).all()
    expected = interval_results(model, heard.x[0]).c
    k, c, kind = gather(out)
    assert k.tolist() == sorted(set(k.tolist()))
    assert set(range(first)) | set(range(first + gap, total)) <= set(k.tolist())
    np.testing.assert_array_equal(kind, heard.kind[0, k])
    spoken = kind != MISSING
    np.testing.assert_allclose(c[spoken], expected[k][spoken], atol=1e-5)


@pytest.mark.parametrize("model", [SMALL, LONG, HEARING], ids=["delay 3", "delay 11", "detector"])
def test_a_pause_is_heard_as_a_gap_of_its_length(model: CabCnn) -> None:
    results = []
    for paused in (False, True):
        engine, bank = Engine(model, 1), Bank(8000, 1, 160_000)
        rehearsed(engine)
        slots = np.array([engine.attach(bank, 0)])
        out = stream(engine, bank, talk(2.5, seed=1), 700, finish=False)
        bank.write(0, noise(4.0, 8000, seed=2, rms=0.2), 0.0)
        if paused:
            for _ in range(8):  # as it comes in, not all at once
                engine.pause(slots, np.array([4000]))
            assert (engine.rested[slots], engine.dropped[slots]) == (32_000, 0)
        else:
            engine.skip(slots, np.array([32_000]))
        bank.write(0, talk(3, seed=3), 0.0)
        bank.finish(0)
        results.append(gather(out + engine.advance()))
    for skipped, paused_ in zip(*results, strict=True):
        np.testing.assert_array_equal(paused_, skipped)


def test_after_a_pause_shorter_than_its_memory_the_net_counts_what_it_knows_again() -> None:
    engine, bank = Engine(LONG, 1), Bank(8000, 1, 80_000)
    rehearsed(engine)
    slots = np.array([engine.attach(bank, 0)])
    stream(engine, bank, talk(2, seed=1), 800, finish=False)
    bank.write(0, talk(3, seed=2), 0.0)
    engine.pause(slots, np.array([4000]))
    bank.finish(0)
    k, _, kind = gather(engine.advance())
    resumed = 100  # the interval after the pause: 2.5 s
    assert (
        kind[(k >= resumed) & (k < resumed + LONG.architecture.memory - LONG.architecture.delay)] == MISSING
    ).all()
    assert (kind[k >= resumed + LONG.architecture.memory] != MISSING).all()


def test_many_streams_skip_at_once_as_they_do_one_by_one() -> None:
    results = []
    for together in (True, False):
        engine, bank = Engine(SMALL, 4), Bank(8000, 4, 80_000)
        slots = np.array([engine.attach(bank, row) for row in range(4)])
        for row, seconds in enumerate((0.3, 1.2, 2.0, 2.5)):
            bank.write(row, talk(seconds, seed=row), 0.0)
        out = engine.advance()
        for row in range(4):
            bank.write(row, talk(4, seed=10 + row), 0.0)
        asked = np.array([100, 3000, 17_000, 24_000])
        if together:
            skipped = engine.skip(slots, asked)
        else:
            skipped = np.concatenate([engine.skip(slots[i : i + 1], asked[i : i + 1]) for i in range(4)])
        assert skipped.tolist() == engine.dropped.tolist() == [0, 3000, 17_000, 24_000]
        for row in range(4):
            bank.finish(row)
        out += engine.advance()
        results.append([gather(out, slot) for slot in slots.tolist()])
    for ours, theirs in zip(*results, strict=True):
        # How much of a gap is computed depends on what the engine has met before; it does not vote.
        heard, same = ours[2] != MISSING, theirs[2] != MISSING
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a[heard], b[same], atol=1e-6)


def test_a_skip_of_less_than_an_interval_is_none() -> None:
    engine, bank = Engine(SMALL, 1), Bank(8000, 1, 8000)
    slot = engine.attach(bank, 0)
    bank.write(0, talk(0.5), 0.0)
    assert engine.skip(np.array([slot]), np.array([199])) == 0
    assert engine.dropped[slot] == 0


@pytest.mark.parametrize("rate", [8000, 11025, 48000])
def test_what_the_writer_overtakes_is_missing_and_counted(rate: int) -> None:
    engine, bank = Engine(SMALL, 1), Bank(rate, 1, rate)
    slot = engine.attach(bank, 0)
    x = talk(5, rate, seed=6)
    out = stream(engine, bank, x[: 2 * rate], rate // 4, finish=False)
    assert engine.dropped[slot] == 0
    heard = int(engine.heard[slot])
    bank.write(0, x[2 * rate :], 0.0)
    bank.finish(0)
    out += engine.advance()
    k, _, kind = gather(out)
    assert k.tolist() == list(range(200))
    lost = 4 * rate - heard * 100 * rate // 4000
    assert engine.dropped[slot] == lost
    assert (kind[k >= 160] != MISSING).all()
    assert (kind[(k >= heard) & (k < 160)] == MISSING).all()
    assert (kind[k < heard] != MISSING).all()


def test_missing_samples_that_the_source_announced_do_not_vote() -> None:
    engine, bank, x = Engine(SMALL, 1), Bank(8000, 1, 64000), talk(3, seed=7)
    engine.attach(bank, 0)
    bank.write(0, x[:16000], 0.0)
    bank.skip(0, 8000, 0.0)
    bank.write(0, x[16000:], 0.0)
    bank.finish(0)
    k, _, kind = gather(engine.advance())
    # Of a long hole no more is computed than the net's memory needs.
    assert set(range(160)) - set(k.tolist()) < set(range(80, 120))
    assert set(k[kind == MISSING].tolist()) == set(k.tolist()) & set(range(80, 120))


def test_backlog_is_what_waits() -> None:
    engine, bank = Engine(SMALL, 2), Bank(8000, 2, 16000)
    engine.attach(bank, 0)
    slot = engine.attach(bank, 1)
    bank.write(1, talk(1), 0.0)
    ((seen, slots, waiting),) = engine.backlog()
    assert seen is bank
    assert dict(zip(slots.tolist(), waiting.tolist(), strict=True))[slot] == 8000
    engine.advance()
    ((_, _, waiting),) = engine.backlog()
    assert waiting.max() < 200


def test_the_ring_is_told_what_may_be_overwritten() -> None:
    engine, bank = Engine(SMALL, 1), Bank(44100, 1, 44100)
    engine.attach(bank, 0)
    written = 0
    for piece in np.array_split(talk(3, 44100), 60):
        assert bank.room(0) >= len(piece)
        bank.write(0, piece, 0.0)
        written += len(piece)
        engine.advance()
        assert 0 <= bank.consumed[0] <= written
    assert engine.dropped[0] == 0
    assert written - bank.consumed[0] < 2 * 44100 * 0.025 + 300


Said = tuple[NDArray[np.float32], NDArray[np.uint8]]


def hours(engine: Engine, talks: int, pause_s: int) -> Iterator[tuple[Said, int]]:
    """The same talk again and again, with pauses that nobody listens to: its answers, and the memory in use."""
    bank = Bank(8000, 2, 40 * 8000)
    slot, steady = engine.attach(bank, 0), engine.attach(bank, 1)
    x, beside = talk(2, seed=8) + noise(2, rms=1e-3), talk(2, seed=3)
    for n in range(talks):
        out = []
        for at in range(0, len(x), 1600):
            bank.write(0, x[at : at + 1600], 0.0)
            bank.write(1, beside[at : at + 1600], 0.0)
            out += engine.advance()
        bank.skip(0, pause_s * 8000, 0.0)
        engine.skip(np.array([slot]), np.array([pause_s * 8000]))
        out += engine.advance()
        _, c, kind = gather(out, slot)
        assert engine.heard[slot] == (n + 1) * (2 + pause_s) * 40
        assert engine.heard[steady] == (n + 1) * 80
        yield (c, kind), tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize(
    ("talks", "pause_s"),
    [(21, 1798), pytest.param(3600, 8, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_after_ten_hours_answers_and_memory_are_those_of_the_first_minute(talks: int, pause_s: int) -> None:
    engine = Engine(SMALL, 2)
    tracemalloc.start()
    try:
        for n, (said, memory) in enumerate(hours(engine, talks, pause_s)):
            # With pauses of 8 s a talk still hears the statistics of the 30 s before it.
            if n == 5:
                (c_first, kind_first), early = said, memory
    finally:
        tracemalloc.stop()
    c_last, kind_last = said
    assert engine.heard.max() >= 10 * 3600 * 40
    np.testing.assert_array_equal(kind_last, kind_first)
    np.testing.assert_allclose(c_last, c_first, atol=1e-5)
    assert memory - early < 200_000


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("pause_s", [0.3, 2.0, 30.0])
def test_announced_silence_is_passed_over_and_nothing_is_lost(rate: int, pause_s: float) -> None:
    before, after = talk(2.03, rate, 1), talk(2, rate, 2)
    hole = np.full(int(pause_s * rate), np.nan, np.float32)
    said = []
    for announced in (False, True):
        engine, bank = Engine(SMALL, 1), Bank(rate, 1, len(before) + len(hole) + len(after))
        slot = engine.attach(bank, 0)
        out = stream(engine, bank, before, rate // 50, finish=False)
        if announced:
            bank.silence_from[0], bank.silence_to[0] = len(before), len(before) + len(hole)
        bank.write(0, np.concatenate([hole, after[:800]]), 0.0)
        ((_, _, waiting),) = engine.backlog()
        assert (waiting[0] < rate // 10 + 800) == announced
        out += engine.advance()
        if announced:
            assert engine.heard[slot] * 100 * rate // 4000 >= len(before) + len(hole) - rate // 40
        out += stream(engine, bank, after[800:], rate // 50)
        assert engine.dropped[slot] == 0
        said.append(out)
    (k, c, kind), (other_k, other_c, other_kind) = (gather(out) for out in said)
    voiced, other_voiced = kind == VOICED, other_kind == VOICED
    assert voiced.any()
    assert k[voiced].tolist() == other_k[other_voiced].tolist()
    np.testing.assert_allclose(c[voiced], other_c[other_voiced], atol=1e-5)


@pytest.mark.parametrize("pause_s", [1.0, 1.9, 2.5, 30.0])
def test_announced_silence_as_long_as_the_ring_loses_nothing(pause_s: float) -> None:
    engine, bank = Engine(LONG, 1), Bank(8000, 1, 16_000)
    rehearsed(engine)
    slot = engine.attach(bank, 0)
    stream(engine, bank, talk(2.01, seed=1), 160, finish=False)
    bank.skip(0, int(pause_s * 8000), 0.0)
    bank.write(0, talk(0.1, seed=2), 0.0)
    engine.advance()
    assert engine.dropped[slot] == 0
    assert engine.heard[slot] == int((2.11 + pause_s) * 40)
