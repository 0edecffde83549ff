"""The jitter buffer: what the reader may have and when, when loss is final, and what a call leaves behind."""

import numpy as np
import pytest
from rtp_peer import PLAIN

from streamcab.rtp.jitter_buffer import JitterBuffer
from streamcab.rtp.loss import Sequences
from streamcab.rtp.payload import PayloadTypes

LOOK = 160
PCMU, SAMPLES = 0, 160


class Desk:
    """Two calls of G.711, one packet at a time."""

    def __init__(self) -> None:
        types = PayloadTypes(PLAIN, {})
        self.form = int(types.form[PCMU])
        self.sequences = Sequences(2)
        self.jitter_buffer = JitterBuffer(types, 2, self.sequences, lookback_s=LOOK / 8000, ring_s=1.0)
        slots = np.array([0, 1])
        self.sequences.begin(slots)
        self.jitter_buffer.begin(slots, np.full(2, self.form), 0.0)
        self.bank = self.jitter_buffer.bank(self.form)

    def packet(self, slot: int, sequence: int, now: float, byte: int = 0x80) -> None:
        one, row, n = np.array([slot]), np.array([0]), np.array([SAMPLES])
        position = np.array([LOOK + sequence * SAMPLES])
        self.jitter_buffer.take(one, position, n, now)
        data = np.full((1, SAMPLES), byte, np.uint8)
        kind = np.array([PCMU], np.uint8)
        assert not self.jitter_buffer.scatter(kind, data, row, np.array([0]), n, one, position, n)

    def advance(self, slot: int, to: int) -> None:
        one = np.array([slot])
        self.jitter_buffer.advance(one, np.array([self.form]), np.array([to]))

    def read(self, slot: int, a: int, b: int) -> np.ndarray:
        return self.bank.read(np.array([slot]), np.array([a]), b - a)[0]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_call_begins_a_look_back_into_its_ring(desk: Desk) -> None:
    assert desk.jitter_buffer.newest.tolist() == [LOOK, LOOK]
    assert desk.jitter_buffer.floor.tolist() == [0, 0]
    assert desk.bank.written[0] == 0


def test_the_reader_has_what_lies_before_the_floor_and_no_more(desk: Desk) -> None:
    desk.packet(0, 0, 1.0)
    assert desk.jitter_buffer.newest[0] == LOOK + SAMPLES
    assert desk.bank.written[0] == 0
    desk.advance(0, SAMPLES)
    assert desk.bank.written[0] == desk.jitter_buffer.floor[0] == SAMPLES
    assert desk.bank.written[1] == 0


def test_the_floor_never_goes_back(desk: Desk) -> None:
    desk.packet(0, 0, 1.0)
    desk.advance(0, SAMPLES)
    desk.advance(0, SAMPLES - 100)
    assert desk.jitter_buffer.floor[0] == desk.bank.written[0] == SAMPLES


def test_the_time_of_a_sample_is_when_it_came_less_what_came_after_it(desk: Desk) -> None:
    desk.packet(0, 0, 1.0)
    desk.packet(0, 1, 1.02)
    desk.advance(0, LOOK + SAMPLES)
    assert desk.bank.stamp[0] == pytest.approx(1.02 - SAMPLES / 8000)


def test_loss_is_final_only_when_the_floor_has_passed_its_hole(desk: Desk) -> None:
    desk.packet(0, 0, 1.0)
    desk.packet(0, 2, 1.04)
    hole_end = LOOK + 2 * SAMPLES
    desk.sequences.gap(0, 1, SAMPLES, hole_end)
    desk.advance(0, hole_end - 1)
    assert desk.jitter_buffer.lost_packets == 0
    assert desk.bank.skipped[0] == 0
    desk.advance(0, hole_end)
    assert desk.jitter_buffer.lost_packets == 1
    assert desk.bank.skipped[0] == SAMPLES


def test_what_never_came_stays_marked(desk: Desk) -> None:
    desk.packet(0, 0, 1.0)
    desk.packet(0, 2, 1.04)
    desk.advance(0, LOOK + 3 * SAMPLES)
    heard = desk.read(0, LOOK, LOOK + 3 * SAMPLES)
    assert np.isnan(heard).tolist() == [False] * SAMPLES + [True] * SAMPLES + [False] * SAMPLES


def test_a_finished_call_is_read_to_its_end_and_its_loss_is_kept(desk: Desk) -> None:
    desk.packet(0, 0, 1.0)
    desk.packet(0, 2, 1.04)
    desk.sequences.gap(0, 1, SAMPLES, LOOK + 2 * SAMPLES)
    desk.jitter_buffer.finish(0, desk.form)
    assert desk.bank.written[0] == LOOK + 3 * SAMPLES
    assert desk.bank.ended.tolist() == [True, False]
    assert desk.bank.skipped[0] == SAMPLES
    assert desk.jitter_buffer.lost_packets == 1
    slot, form = np.array([0]), np.array([desk.form])
    desk.sequences.begin(slot)
    desk.jitter_buffer.begin(slot, form, 9.0)
    assert desk.jitter_buffer.lost_packets == 1


def test_the_first_sample_of_a_call_is_number_0_once_it_is_known(desk: Desk) -> None:
    desk.packet(0, 0, 1.0)
    bank, less = desk.jitter_buffer.rebase(0, desk.form, LOOK)
    assert bank is desk.bank
    assert desk.jitter_buffer.newest[0] == LOOK + SAMPLES - less
    end = int(desk.jitter_buffer.newest[0])
    desk.advance(0, end)
    assert np.isfinite(desk.read(0, end - SAMPLES, end)).all()
