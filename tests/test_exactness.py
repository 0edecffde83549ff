"""Every c_t of a stream equals the offline c_t within 1e-5, whatever the chunks and whoever else is there.

The offline path is itself compared with the naive one of speech.py, which shares no code with streamcab.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from searches import examples
from speech import (
    LONG_STAGES,
    SMALL_STAGES,
    SMALL_TRUNK,
    Samples,
    detecting_model,
    naive_intervals,
    noise,
    silence,
    talk,
    tiny_model,
)

from streamcab.audio.ring import Bank
from streamcab.dsp.gate import VOICED
from streamcab.inference.engine import Engine
from streamcab.inference.engine_output import EngineOutput
from streamcab.inference.offline import intervals
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.weights import detector_of

RATES = [8000, 11025, 16000, 22050, 44100, 48000]
ODD = [8001, 7350, 12345]
EXACT = 1e-5

PAPER = tiny_model(0)
SMALL = tiny_model(1, stages=SMALL_STAGES, classifiers=8)
HEARING = detecting_model(1, stages=SMALL_STAGES, classifiers=8)
OTHERS = {
    "delay 11": tiny_model(1, stages=LONG_STAGES, classifiers=8),
    "12.5 ms": tiny_model(1, stages=SMALL_STAGES, classifiers=8, pooled_rate=8000),
    "50 ms": tiny_model(1, stages=SMALL_STAGES, classifiers=8, pooled_rate=2000),
    "trunk": tiny_model(1, stages=SMALL_STAGES, classifiers=8, **SMALL_TRUNK),
    "detector": HEARING,
}
"""Nets of another geometry, and one that hears speech by a detector."""


def scene(rate: int, seed: int, seconds: float) -> Samples:
    """A talk as it comes: noise or silence, a hold, pauses, a hole, a change of loudness."""
    rng = np.random.default_rng(seed)
    parts = [
        silence(rng.uniform(0, 0.4), rate),
        talk(rng.uniform(0.3, 0.6) * seconds, rate, seed),
        noise(rng.uniform(0, 0.5), rate, seed, 1e-3),
        talk(seconds, rate, seed + 1, rms=rng.choice([0.01, 0.1, 0.4])),
    ]
    x = np.concatenate(parts)[: round(seconds * rate)]
    if seed % 3 == 0:
        x += noise(seconds, rate, seed, 1e-3)[: len(x)]
    if seed % 4 == 1:
        x[len(x) // 2 : len(x) // 2 + rate // 10] = np.nan
    return x


@dataclass
class Collected:
    """What a stream was told, by interval."""

    c: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    alpha: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    kind: dict[int, int] = field(default_factory=dict)

    def add(self, e: EngineOutput, row: int) -> None:
        for j in range(e.c.shape[1]):
            k = int(e.first[row]) + j
            if k >= 0:
                assert k not in self.c, f"interval {k} came twice"
                self.c[k], self.alpha[k], self.kind[k] = e.c[row, j], e.alpha[row, j], int(e.kind[row, j])

    def check(self, model: CabCnn, x: Samples, rate: int, complete: bool = True) -> None:
        """Every c_t, attention and kind equal the offline ones, and when complete none lacks."""
        answered, heard = intervals(model, x, rate, detector_of(model))
        c, alpha = answered.c, answered.alpha
        ks = sorted(self.c)
        if complete:
            assert ks == list(range(len(c)))
        if not ks:
            return
        np.testing.assert_array_equal([self.kind[k] for k in ks], heard.kind[0, ks])
        np.testing.assert_allclose(np.array([self.c[k] for k in ks]), c[ks], rtol=0, atol=EXACT)
        np.testing.assert_allclose(np.array([self.alpha[k] for k in ks]), alpha[ks], rtol=0, atol=EXACT)


def run(model: CabCnn, x: Samples, rate: int, sizes: list[int]) -> Collected:
    """One stream alone, in chunks of these sizes over and over, finished."""
    engine, bank = Engine(model, 1), Bank(rate, 1, max(len(x), 2 * rate))
    engine.attach(bank, 0)
    told, at, turn = Collected(), 0, 0
    while at < len(x):
        size = sizes[turn % len(sizes)]
        bank.write(0, x[at : at + size], 0.0)
        at, turn = at + size, turn + 1
        for e in engine.advance():
            told.add(e, 0)
    bank.finish(0)
    for e in engine.advance():
        told.add(e, 0)
    assert engine.finished[0]
    return told


@pytest.mark.parametrize("rate", RATES + ODD)
def test_offline_equals_the_naive_implementation_of_the_specification(rate: int) -> None:
    x = np.concatenate(
        [noise(0.6, rate, rms=1e-3), talk(3, rate, 2), silence(0.7, rate), talk(2, rate, 3, 0.02)]
    )
    x[rate : rate + 300] = np.nan
    answered, heard = intervals(PAPER, x, rate)
    c, alpha = answered.c, answered.alpha
    c_naive, alpha_naive, kind = naive_intervals(PAPER, x, rate)
    assert np.bincount(kind, minlength=3).min() > 0
    np.testing.assert_array_equal(heard.kind[0], kind)
    np.testing.assert_allclose(c, c_naive, rtol=0, atol=EXACT)
    np.testing.assert_allclose(alpha, alpha_naive, rtol=0, atol=EXACT)


@pytest.mark.parametrize("rate", [8000, 44100, 12345])
def test_a_stream_of_packets_equals_the_naive_implementation(rate: int) -> None:
    x = scene(rate, 5, 3.0)
    told = run(PAPER, x, rate, [rate // 50])
    c, _, kind = naive_intervals(PAPER, x, rate)
    assert sorted(told.c) == list(range(len(c)))
    np.testing.assert_array_equal([told.kind[k] for k in range(len(c))], kind)
    np.testing.assert_allclose(np.array([told.c[k] for k in range(len(c))]), c, rtol=0, atol=EXACT)


@examples(8, 20)
@given(
    rate=st.one_of(st.sampled_from(RATES), st.integers(4000, 50_000)),
    seconds=st.floats(0.0, 3.5),
    sizes=st.lists(st.floats(-4.5, 0.3), min_size=1, max_size=7),
    seed=st.integers(0, 999),
)
def test_streamed_equals_offline_for_any_rate_and_any_chunks(
    rate: int, seconds: float, sizes: list[float], seed: int
) -> None:
    x = scene(rate, seed, seconds)
    # From single samples to two seconds, and now and then a twentieth of the clip: it has to end.
    chunks = [max(1, round(10**size * rate)) for size in sizes]
    chunks.append(max(1, len(x) // 20))
    run(SMALL, x, rate, chunks).check(SMALL, x, rate)


@pytest.mark.parametrize("name", OTHERS)
@examples(5, 12)
@given(
    rate=st.sampled_from(RATES + ODD),
    sizes=st.lists(st.floats(-3.0, 0.3), min_size=1, max_size=7),
    seed=st.integers(0, 999),
)
def test_streamed_equals_offline_for_nets_of_another_geometry(
    name: str, rate: int, sizes: list[float], seed: int
) -> None:
    x = scene(rate, seed, 3.5)
    run(OTHERS[name], x, rate, [max(1, round(10**size * rate)) for size in sizes]).check(
        OTHERS[name], x, rate
    )


@pytest.mark.parametrize("rate", [8000, 11025])
def test_single_samples_make_no_difference(rate: int) -> None:
    x = scene(rate, 6, 1.3)[: rate * 5 // 4]
    run(SMALL, x, rate, [1]).check(SMALL, x, rate)


@pytest.mark.parametrize("rate", RATES + ODD)
def test_clips_that_are_short_or_end_on_an_interval_are_exact(rate: int) -> None:
    x = talk(1.6, rate, seed=7)
    lengths = [0, 1, rate // 100, rate // 40 - 1]
    for k in (1, 2, 3, 4, 39, 40, 41, 42):
        n = -(-k * 100 * rate // 4000)
        lengths += [n - 1, n, n + 1]
    for n in lengths:
        told = run(SMALL, x[:n], rate, [max(1, n // 3)])
        told.check(SMALL, x[:n], rate)
    for k in (1, 3, 40):
        n = -(-k * 100 * rate // 4000)
        assert len(run(SMALL, x[:n], rate, [n]).c) >= k


def test_the_whole_paper_net_is_exact_over_a_minute() -> None:
    x = np.concatenate([scene(16000, 1, 20), silence(5, 16000), scene(16000, 2, 8), talk(30, 16000, 3)])
    told = run(PAPER, x, 16000, [160, 5000, 31, 16000])
    assert np.bincount(list(told.kind.values()), minlength=3).min() > 0
    told.check(PAPER, x, 16000)


@dataclass
class Caller:
    """A stream among others: when it joins, how it comes, and how it goes."""

    x: Samples
    rate: int
    joins: int
    leaves: int
    rng: np.random.Generator
    bank: Bank
    row: int
    at: int = 0
    slot: int | None = None
    told: Collected = field(default_factory=Collected)

    def speak(self) -> None:
        """A chunk of any length, or nothing."""
        if self.rng.random() < 0.2:
            return
        n = int(np.exp(self.rng.uniform(0, np.log(1.5 * self.rate))))
        n = min(n, len(self.x) - self.at)
        self.bank.write(self.row, self.x[self.at : self.at + n], 0.0)
        self.at += n
        if self.at == len(self.x):
            self.bank.finish(self.row)


def party(model: CabCnn, seed: int, callers: int, slots: int, seconds: float) -> list[Caller]:
    """Streams of several rates in one engine: they join, fall silent, finish or hang up; slots are reused."""
    rng = np.random.default_rng(seed)
    rates = [int(r) for r in rng.choice(RATES + ODD, 3, replace=False)]
    banks = {rate: Bank(rate, callers, 4 * rate) for rate in rates}
    people = []
    for row in range(callers):
        rate = rates[int(rng.integers(len(rates)))]
        x = scene(rate, int(rng.integers(1000)), rng.uniform(0.0, seconds))
        if rng.random() < 0.15:
            x = silence(len(x) / rate, rate)
        leaves = int(rng.integers(1, 12)) if rng.random() < 0.3 else 10**9
        joins = int(rng.integers(0, 6))
        people.append(
            Caller(x, rate, joins, leaves, np.random.default_rng(rng.integers(2**32)), banks[rate], row)
        )
    engine = Engine(model, slots)
    there: dict[int, Caller] = {}
    waiting, used, turn = sorted(people, key=lambda p: p.joins), 0, 0
    while waiting or there:
        while waiting and waiting[0].joins <= turn and engine.table.free:
            person = waiting.pop(0)
            person.slot = engine.attach(person.bank, person.row)
            assert person.slot not in there
            there[person.slot] = person
            used += 1
        for person in there.values():
            person.speak()
        for e in engine.advance():
            for row, slot in enumerate(e.slots.tolist()):
                there[slot].told.add(e, row)
        for slot, person in list(there.items()):
            gone = turn - person.joins > person.leaves
            if engine.finished[slot] or gone:
                engine.detach(slot)
                del there[slot]
        turn += 1
    assert used == callers > slots
    assert not engine.dropped.any()
    return people


@pytest.mark.parametrize("model", [SMALL, HEARING], ids=["level", "detector"])
@examples(4, 6)
@given(seed=st.integers(0, 2**20))
def test_nothing_that_others_do_changes_a_stream(model: CabCnn, seed: int) -> None:
    for person in party(model, seed, callers=9, slots=4, seconds=3.0):
        person.told.check(model, person.x, person.rate, complete=person.leaves > 1000)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(6))
def test_nothing_that_a_hundred_others_do_changes_a_stream(seed: int) -> None:
    for person in party(PAPER, seed, callers=150, slots=100, seconds=5.0):
        person.told.check(PAPER, person.x, person.rate, complete=person.leaves > 1000)


def test_a_batch_larger_than_one_product_is_exact() -> None:
    # More streams with a run of 8 than go through the layers at once on a CPU.
    n, rate = 80, 8000
    engine, bank = Engine(SMALL, n), Bank(rate, n, 2 * rate)
    clips = [talk(1.5, rate, seed=s % 7)[s * 13 :] for s in range(n)]
    told = {engine.attach(bank, row): (Collected(), row) for row in range(n)}
    for at in range(0, 2 * rate, 1600):
        for row, x in enumerate(clips):
            if at < len(x):
                bank.write(row, x[at : at + 1600], 0.0)
                if at + 1600 >= len(x):
                    bank.finish(row)
        for e in engine.advance():
            for row, slot in enumerate(e.slots.tolist()):
                told[slot][0].add(e, row)
    assert engine.finished.all()
    for collected, row in list(told.values())[::17]:
        collected.check(SMALL, clips[row], rate)


def test_the_untrained_detector_calls_some_of_a_talk_speech_and_not_all() -> None:
    x = talk(8, 8000, 3) + noise(8, 8000, 3, 3e-2)
    kind = intervals(HEARING, x, 8000, detector_of(HEARING))[1].kind[0]
    assert 0.1 < (kind == VOICED).mean() < 0.9


def test_the_comparison_can_fail() -> None:
    x = scene(8000, 2, 1.0)
    told = run(SMALL, x, 8000, [400])
    told.c[20] = told.c[20] + np.float32(2e-5)
    with pytest.raises(AssertionError):
        told.check(SMALL, x, 8000)
