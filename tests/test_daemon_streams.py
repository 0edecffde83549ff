"""Who is being answered, as columns, and where each stands: counted by hand on real rings and a clock that is set."""

import numpy as np
import pytest
from serving import Hand
from speech import SMALL_STAGES, tiny_model

from streamcab.audio.ring import Bank
from streamcab.daemon.streams import StreamTable
from streamcab.inference.engine import Engine
from streamcab.source import Line

MODEL = tiny_model(1, stages=SMALL_STAGES)
UNIX_S = 1_700_000_000.0
"""By how much the wall clock is ahead of the monotonic one here."""


class Fixed:
    """A wall clock that stands UNIX_S ahead of what a test calls now."""

    now = 0.0

    def time(self):
        return UNIX_S + self.now


class Stage:
    """An engine of four slots, its streams, and streams that a test begins."""

    def __init__(self):
        self.clock = Fixed()
        self.streams = StreamTable(MODEL.architecture, 4, self.clock)
        self.engine = Engine(MODEL, self.streams)

    def join(self, name, bank, row=0, live=True, now=0.0):
        return self.streams.join(Line(name, bank, row, "by hand"), Hand(live=live), now)

    def at(self, *some, now=0.0, intervals=None):
        self.clock.now = now
        slots = np.array([s.slot for s in some])
        return self.streams.standings(
            slots, now, None if intervals is None else np.full(len(slots), intervals)
        )


@pytest.fixture
def stage():
    return Stage()


def test_who_joins_is_there_until_it_leaves(stage):
    bank = Bank(8000, 2, 8000)
    a, b = stage.join("a", bank, 0, now=5.0), stage.join("b", bank, 1, live=False, now=5.0)
    streams = stage.streams
    assert len(streams) == 2
    assert list(streams) == [a, b]
    assert streams[a.slot] is a
    assert streams.slots.tolist() == sorted([a.slot, b.slot])
    assert streams.of(np.array([b.slot, a.slot])) == [b, a]
    assert streams.row[np.array([b.slot, a.slot])].tolist() == [1, 0]
    assert streams.paced[[a.slot, b.slot]].tolist() == [True, False]
    assert streams.news[[a.slot, b.slot]].tolist() == [True, False]
    assert streams.turn[[a.slot, b.slot]].tolist() == [5.0, 0.0]
    streams.leave(a)
    assert not streams.has(a)
    assert streams.has(b)
    assert len(streams) == 1
    assert not streams.paced[a.slot]
    assert streams.turn[a.slot] == np.inf


def test_a_slot_that_another_has_now_is_not_the_one_that_left(stage):
    bank = Bank(8000, 2, 8000)
    first = stage.join("first", bank)
    stage.streams.leave(first)
    second = stage.join("second", bank, 1)
    assert second.slot == first.slot
    assert stage.streams.has(second)
    assert not stage.streams.has(first)


def test_of_one_name_the_second_bears_a_number_until_the_first_has_gone(stage):
    bank = Bank(8000, 3, 8000)
    first, second = stage.join("mic", bank, 0), stage.join("mic", bank, 1)
    assert (first.name, second.name) == ("mic", "mic-2")
    stage.streams.leave(first)
    assert stage.join("mic", bank, 2).name == "mic"


def test_streams_of_one_bank_come_together_and_every_stream_comes_once(stage):
    banks = [Bank(8000, 2, 8000), Bank(16000, 1, 16000)]
    some = [stage.join("a", banks[0], 1), stage.join("b", banks[1]), stage.join("c", banks[0], 0)]
    found = list(stage.streams.by_bank(np.array([s.slot for s in some])))
    assert [(bank, which.tolist(), rows.tolist()) for which, bank, rows in found] == [
        (banks[0], [0, 2], [1, 0]),
        (banks[1], [1], [0]),
    ]


def test_a_prediction_is_dated_when_its_last_sample_was_captured(stage):
    bank = Bank(8000, 1, 80_000)
    a = stage.join("a", bank)
    bank.write(0, np.full(8000, 0.1, np.float32), 100.0)
    # 16 intervals of 25 ms are 3,200 samples: the newest of them was captured 0.6 s before the newest of all.
    s = stage.at(a, now=100.25, intervals=16)
    assert (s.sample[0], s.written[0], s.rate[0]) == (3200, 8000, 8000)
    assert s.time[0] == pytest.approx(UNIX_S + 99.4)
    # The newest interval of the answer is older than this by what the net hears ahead of it.
    assert s.lag_ms[0] == pytest.approx(850 + MODEL.architecture.delay * 25)
    assert not s.ended[0]


def test_more_than_was_written_was_never_used(stage):
    bank = Bank(8000, 1, 80_000)
    a = stage.join("a", bank)
    bank.write(0, np.zeros(1000, np.float32), 5.0)
    s = stage.at(a, now=5.0, intervals=80)
    assert (s.sample[0], s.lag_ms[0]) == (1000, 0.0)


def test_before_the_first_sample_nothing_is_late(stage):
    a = stage.join("a", Bank(8000, 1, 8000))
    s = stage.at(a, now=77.0)
    assert (s.sample[0], s.lag_ms[0], s.time[0]) == (0, 0.0, UNIX_S + 77.0)


def test_a_stream_that_has_ended_has_been_heard_to_its_last_sample(stage):
    bank = Bank(8000, 1, 80_000)
    a = stage.join("a", bank)
    bank.write(0, np.full(8123, 0.1, np.float32), 3.0)
    bank.finish(0)
    stage.engine.advance()
    s = stage.at(a, now=4.0)
    assert s.ended[0]
    assert s.sample[0] == 8123
    # An answer as it stood on the way is not the last one.
    assert not stage.at(a, now=4.0, intervals=20).ended[0]


def test_a_stream_that_was_given_up_has_no_more_to_be_heard(stage):
    bank = Bank(8000, 1, 80_000)
    a = stage.join("a", bank)
    bank.write(0, np.full(8000, 0.1, np.float32), 3.0)
    stage.engine.finished[a.slot] = True
    assert stage.at(a, now=4.0).sample[0] == 8000


def test_a_stream_is_lost_while_its_source_is_gone(stage):
    a = stage.join("a", Bank(8000, 1, 8000))
    for state, lost in (("lost", True), ("reconnecting", True), ("live", False)):
        a.line.move(state)
        assert stage.at(a).lost[0] == lost


def test_what_was_lost_is_counted_by_stream_and_stays_counted_when_it_is_gone(stage):
    slow, quick = Bank(8000, 1, 80_000), Bank(16000, 1, 80_000)
    a, b = stage.join("a", slow), stage.join("b", quick)
    slow.skip(0, 800, 1.0)
    quick.skip(0, 800, 1.0)
    stage.engine.dropped[b.slot] = 1600
    assert stage.streams.lost_ms(np.array([a.slot, b.slot])).tolist() == [100.0, 150.0]
    assert stage.at(a, b).lost_ms.tolist() == [100.0, 150.0]
    stage.streams.leave(b)
    assert stage.streams.all_lost_ms == 250.0
