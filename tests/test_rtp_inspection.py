"""What is wrong with packets: noise under G.711 and two talks under one key, and what is neither."""

import numpy as np
import pytest

from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.codec import TABLES
from streamcab.rtp.inspection import HOLD_S, LEAST, MOST, SAMPLES, Inspection

LIVE = np.array([0])


def banked(codes, law="PCMU", seconds=4.0):
    bank = ScatterBank(8000, 1, seconds, compact=True, touch=True)
    samples = TABLES[law][codes]
    bank.prepare(LIVE, np.array([len(samples)]))
    bank.place(LIVE, np.array([0]), samples[None])
    return bank, np.array([len(samples)])


def looked(codes, law="PCMU"):
    inspection = Inspection(1)
    bank, newest = banked(codes, law)
    return [finding.name for finding in inspection.codes(LIVE, newest, bank)]


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
@pytest.mark.parametrize("seed", range(20))
def test_bytes_without_any_order_look_encrypted(law, seed):
    assert looked(np.random.default_rng(seed).integers(0, 256, SAMPLES), law) == ["encrypted?"]


def encoded(samples, law="PCMU"):
    """The nearest codes."""
    order = np.argsort(TABLES[law], kind="stable")
    places = np.searchsorted(TABLES[law][order], np.clip(samples, -32000, 32000))
    return order[np.minimum(places, 255)]


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
@pytest.mark.parametrize("level", [30, 300, 3000, 10_000])
@pytest.mark.parametrize("what", ["white", "laplace", "tone", "uniform"])
def test_noise_that_a_microphone_hears_does_not(law, level, what):
    rng = np.random.default_rng(1)
    made = {
        "white": lambda: rng.normal(0, level, SAMPLES),
        "laplace": lambda: rng.laplace(0, level, SAMPLES),
        "tone": lambda: level * np.sin(np.arange(SAMPLES) * 0.3),
        "uniform": lambda: rng.uniform(-level, level, SAMPLES),
    }
    assert looked(encoded(made[what](), law), law) == []


def test_half_a_second_is_needed_and_it_is_said_once_and_taken_back():
    inspection = Inspection(1)
    noise = np.random.default_rng(0).integers(0, 256, 2 * SAMPLES)
    bank, newest = banked(np.concatenate([noise, encoded(np.zeros(2 * SAMPLES))]))
    found = [inspection.codes(LIVE, np.array([end]), bank) for end in range(1000, newest[0] + 1, 1000)]
    said = [(k, f.words != "") for k, some in enumerate(found) for f in some]
    assert said == [(3, True), (11, False)]


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
@pytest.mark.parametrize("turns_at", [80_000, 81_500, 83_999, 87_999])
def test_a_clear_call_that_turns_to_noise_is_found_within_a_second_and_a_half(law, turns_at):
    inspection, rng = Inspection(1), np.random.default_rng(turns_at)
    clear = encoded(rng.normal(0, 1000, turns_at), law)
    bank, newest = banked(np.concatenate([clear, rng.integers(0, 256, 12_000)]), law, seconds=13.0)
    looks = range(8000, newest[0] + 1, 8000)
    found = [end for end in looks for _ in inspection.codes(LIVE, np.array([end]), bank)]
    assert len(found) == 1
    assert found[0] - turns_at <= 12_000
    inspection.begin(LIVE)
    assert [f.name for f in inspection.codes(LIVE, newest, bank)] == ["encrypted?"]


def test_those_that_have_waited_longest_are_counted_first():
    calls = 2 * MOST
    inspection, live = Inspection(calls), np.arange(calls)
    bank = ScatterBank(8000, calls, 4.0, compact=True, touch=True)
    bank.prepare(live, np.full(calls, 2 * SAMPLES))
    codes = np.random.default_rng(0).integers(0, 256, (calls, 2 * SAMPLES))
    bank.place(live, np.zeros(calls, int), TABLES["PCMU"][codes])
    newest = np.where(live % 2, 2 * SAMPLES, SAMPLES)
    found = [sorted(f.slot for f in inspection.codes(live, newest, bank)) for _ in range(2)]
    assert found == [live[1::2].tolist(), live[::2].tolist()]


@pytest.mark.parametrize(
    ("refused", "heard", "expected"), [(50, 50, 1), (10, 50, 1), (LEAST - 1, 0, 0), (5, 95, 0)]
)
def test_a_tenth_of_refused_packets_is_a_collision(refused, heard, expected):
    inspection = Inspection(1)
    inspection.refused[0] = refused
    found = inspection.collisions(LIVE, np.array([heard]), 1.0)
    assert len(found) == expected
    again = inspection.collisions(LIVE, np.array([heard + 50]), 2.0)
    assert not again
    over = inspection.collisions(LIVE, np.array([heard + 500]), 1.0 + HOLD_S)
    assert [f.words for f in over] == [""] * expected
    inspection.begin(LIVE)
    assert not inspection.collisions(LIVE, np.array([0]), 9.0)
