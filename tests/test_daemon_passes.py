"""Passes by hand: rings are filled, times are handed in, and the windows hold what was heard."""

import logging
from functools import partial

import numpy as np
import pytest
from serving import Hand
from speech import SMALL_STAGES, silence, talk, tiny_model

from streamcab.audio.quality import SILENT_S
from streamcab.audio.ring import Bank
from streamcab.classifier import Classifier
from streamcab.daemon.passes import WARN_S, PassRunner
from streamcab.daemon.settings import KEEP_S
from streamcab.daemon.streams import StreamTable
from streamcab.inference.engine import Engine
from streamcab.inference.window import window_of
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source import Line

RATE = 8000
MODEL = tiny_model(3, stages=SMALL_STAGES)
EVERY_S = 0.5


class Stage:
    """Passes, and streams of one bank that a test begins."""

    def __init__(self, rows=3, length=1200):
        self.streams = StreamTable(MODEL.architecture, rows)
        self.engine = Engine(MODEL, self.streams)
        self.window = window_of(MODEL, rows, length)
        self.passes = PassRunner(self.engine, self.window, self.streams, gate=True)
        self.bank = Bank(RATE, rows, 60 * RATE)

    def begin(self, row, live=True):
        line = Line(f"call-{row}", self.bank, row, "by hand")
        return self.streams.join(line, Hand(live=live), 0.0)

    def run(self, now, *some):
        slots = np.array([s.slot for s in some]) if some else self.streams.slots
        ((_, done),) = self.passes.turn(slots, now, EVERY_S)
        return done

    def mean(self, stream):
        means, votes = self.window.probabilities(np.array([stream.slot]))
        return dict(zip(MODEL.architecture.labels, means[0].tolist(), strict=True)), int(votes[0])


@pytest.fixture
def stage():
    return Stage()


def offline(voice):
    return Classifier(Checkpoint(MODEL, {}, "")).classify(voice, RATE).probs


def test_what_has_arrived_is_in_the_windows_and_each_stream_has_its_own(stage):
    voices = [talk(3, seed=1), talk(4, seed=2)]
    streams = [stage.begin(0), stage.begin(1)]
    for row, voice in enumerate(voices):
        stage.bank.write(row, voice, 4.0)
        stage.bank.finish(row)
    done = stage.run(4.0)
    # Each stream's delay comes out of the net ahead of its first interval.
    assert done.due == [], "a stream that a clock paces is answered when it is due by the clock"
    assert done.intervals == sum(len(v) // 200 + stage.engine.delay for v in voices)
    for stream, voice in zip(streams, voices, strict=True):
        probs, votes = stage.mean(stream)
        assert votes > 0
        assert probs == pytest.approx(offline(voice), abs=1e-5)
        assert stage.streams.news[stream.slot]
        assert stage.streams.power[stream.slot] > 0
        assert stage.engine.finished[stream.slot]


def test_only_the_streams_whose_turn_it_is_are_heard(stage):
    a, b = stage.begin(0), stage.begin(1)
    for row in (0, 1):
        stage.bank.write(row, talk(3, seed=row), 3.0)
    stage.run(3.0, a)
    assert stage.engine.heard[[a.slot, b.slot]].tolist() == [120, 0]


def test_a_stream_that_no_clock_paces_is_answered_as_it_stood_each_time(stage):
    voice, a = talk(4, seed=5), stage.begin(0, live=False)
    stage.bank.write(0, voice, 0.0)
    stage.bank.finish(0)
    done = stage.run(0.0)
    every = round(EVERY_S / 0.025)
    assert [due.reading.slots.tolist() for due in done.due] == [[a.slot]] * 8
    assert [due.reading.seen.tolist() for due in done.due] == [[every * k] for k in range(1, 9)]
    means = [dict(zip(MODEL.architecture.labels, due.reading.mean[0], strict=True)) for due in done.due]
    assert means[-1] == pytest.approx(offline(voice), abs=1e-5)
    assert means[3] != means[-1]
    assert not stage.streams.news[a.slot]


def test_paced_and_unpaced_streams_share_a_pass(stage):
    live, fast = stage.begin(0), stage.begin(1, live=False)
    voices = [talk(3, seed=7), talk(3, seed=8)]
    for row, voice in enumerate(voices):
        stage.bank.write(row, voice, 3.0)
        stage.bank.finish(row)
    done = stage.run(3.0)
    assert {int(due.reading.slots[0]) for due in done.due} == {fast.slot}
    for stream, voice in zip((live, fast), voices, strict=True):
        assert stage.mean(stream)[0] == pytest.approx(offline(voice), abs=1e-5)


def test_who_has_waited_too_long_skips_to_live_and_loses_the_oldest(stage, caplog):
    late, early, patient, over = (stage.begin(0), stage.begin(1), stage.begin(2, live=False), None)
    stage.bank.write(0, talk(5, seed=1), 5.0)
    stage.bank.write(1, talk(1, seed=2), 5.0)
    stage.bank.write(2, talk(5, seed=3), 5.0)
    assert stage.passes.behind()
    with caplog.at_level(logging.WARNING):
        stage.passes.skip_to_live(2.0, 100.0)
    dropped = stage.engine.dropped / RATE
    assert dropped[late.slot] == pytest.approx(5 - KEEP_S, abs=0.025)
    assert dropped[[early.slot, patient.slot]].tolist() == [0.0, 0.0]
    assert stage.passes.skips == 1
    assert over is None
    assert "1 stream had waited for 2 s: skipped 4.8 s" in caplog.text


def test_a_stream_that_has_ended_skips_nothing(stage):
    a = stage.begin(0)
    stage.bank.write(0, talk(5, seed=1), 5.0)
    stage.bank.finish(0)
    stage.passes.skip_to_live(2.0, 100.0)
    assert stage.engine.dropped[a.slot] == 0
    assert stage.passes.skips == 0


def test_an_outage_of_a_microphone_is_counted_once_and_blamed_on_nobody(stage, caplog):
    mic = stage.begin(0)
    stage.bank.write(0, talk(5, seed=1), 5.0)
    stage.run(5.0)
    stage.bank.skip(0, 7 * RATE, 12.0)
    stage.bank.write(0, talk(1, seed=2), 13.0)
    with caplog.at_level(logging.WARNING):
        stage.passes.skip_to_live(2.0, 13.0)
        stage.run(13.0)
    assert stage.engine.heard[mic.slot] == 13 * 40
    assert stage.engine.dropped[mic.slot] == 0
    assert stage.streams.lost_ms(np.array([mic.slot])).tolist() == [7000.0]
    assert stage.passes.skips == 0
    assert not caplog.records


def test_skips_are_warned_of_once_in_a_while(stage, caplog):
    stage.begin(0)
    for now in (100.0, 101.0, 101.0 + WARN_S):
        stage.bank.write(0, silence(3), now)
        stage.passes.skip_to_live(1.0, now)
    assert stage.passes.skips == 3
    assert len([r for r in caplog.records if "skipped" in r.message]) == 2


def test_who_rests_is_left_out_without_loss_and_heard_again(stage):
    resting, other = stage.begin(0), stage.begin(1)
    for row in (0, 1):
        stage.bank.write(row, talk(3, seed=row), 0.0)
    stage.run(1.0)
    before, heard = None, stage.mean(resting)[1]
    stage.streams.resting[resting.slot] = True
    for k in range(5):  # as the scheduler comes by: once a second
        for row in (0, 1):
            stage.bank.write(row, talk(1, seed=10 + k), 0.0)
        stage.passes.rest(np.array([resting.slot]), 2.0 + k)
        stage.run(2.0 + k, other)
        # What was on its way through the net has come out, and nothing follows.
        before = before if k else stage.mean(resting)
    assert stage.mean(resting) == before
    assert heard <= before[1] <= heard + MODEL.architecture.delay
    assert stage.passes.waiting_s()[0] == pytest.approx(0.0, abs=0.1)
    assert not stage.passes.behind()
    assert stage.streams.lost_ms(np.array([resting.slot])) == [0.0]
    stage.streams.resting[resting.slot] = False
    stage.bank.write(0, talk(0.5, seed=19), 0.0)
    # What came since it was last visited belongs to the rest: heard late, it would make every answer late.
    assert stage.passes.rest(np.array([resting.slot]), 7.5).tolist() == [resting.slot]
    assert stage.passes.waiting_s()[0] == pytest.approx(0.0, abs=0.1)
    stage.bank.write(0, talk(6, seed=20), 0.0)
    assert stage.passes.rest(np.array([resting.slot]), 8.0).tolist() == [resting.slot]
    stage.run(8.0)
    assert stage.mean(resting)[1] > before[1]


def test_a_call_that_ends_while_it_rests_is_answered_to_its_end(stage):
    call = stage.begin(0)
    stage.bank.write(0, talk(3, seed=1), 0.0)
    stage.run(1.0)
    stage.streams.resting[call.slot] = True
    stage.bank.finish(0)
    stage.passes.rest(np.array([call.slot]), 2.0)
    assert not stage.streams.resting[call.slot]
    stage.run(2.0)
    assert stage.engine.finished[call.slot]


def test_behind_is_more_than_what_is_left_after_a_skip(stage):
    stage.begin(0)
    stage.bank.write(0, silence(KEEP_S), 1.0)
    assert not stage.passes.behind()
    stage.bank.write(0, silence(0.01), 1.0)
    assert stage.passes.behind()


def test_a_muted_source_is_silent_until_it_is_not(stage):
    a = stage.begin(0)
    slots = stage.streams.slots
    for now in (0.0, 1.0, SILENT_S):
        stage.bank.write(0, silence(1), now)
        stage.passes.examine(slots, now)
    assert a.line.state == "silent"
    assert "muted" in a.line.detail
    stage.bank.write(0, talk(1), SILENT_S + 1)
    stage.passes.examine(slots, SILENT_S + 1)
    assert a.line.state == "live"


def test_what_is_wrong_with_samples_is_told_when_it_comes_and_when_it_has_gone(stage, caplog):
    a = stage.begin(0)
    slots = stage.streams.slots
    with caplog.at_level(logging.WARNING, "streamcab.daemon"):
        stage.bank.write(0, np.clip(20 * talk(1), -1, 1), 1.0)
        stage.passes.examine(slots, 1.0)
        assert a.flaws == ["clipping"]
        stage.bank.write(0, talk(1), 60.0)
        stage.passes.examine(slots, 60.0)
        assert a.flaws == []
    assert [r.message.rpartition(": ")[2] for r in caplog.records] == ["clipping", "nothing any more"]


def test_warming_up_leaves_nothing_behind(stage):
    stage.passes.warm_up()
    assert stage.streams.free == 3
    assert stage.window.seen.tolist() == [0, 0, 0]
    a = stage.begin(0)
    voice = talk(3, seed=9)
    stage.bank.write(0, voice, 3.0)
    stage.bank.finish(0)
    stage.run(3.0)
    assert stage.mean(a)[0] == pytest.approx(offline(voice), abs=1e-5)


def test_a_slot_begins_afresh(stage):
    a = stage.begin(0)
    stage.bank.write(0, talk(3), 3.0)
    stage.run(3.0)
    assert stage.window.seen[a.slot] > 0
    stage.streams.leave(a)
    assert stage.mean(a) == ({"au": 0.0, "uk": 0.0, "us": 0.0}, 0)


def test_a_new_stream_has_not_the_flaws_of_the_one_before(stage, caplog):
    stage.begin(0)
    stage.bank.write(0, np.clip(20 * talk(1), -1, 1), 1.0)
    stage.passes.examine(stage.streams.slots, 1.0)
    stage.streams.leave(stage.streams[stage.streams.slots[0]])
    stage.bank.reset(0)
    caplog.clear()
    b = stage.begin(0)
    stage.bank.write(0, talk(1), 60.0)
    stage.passes.examine(stage.streams.slots, 60.0)
    assert b.flaws == []
    assert caplog.records == []


def test_the_next_turn_begins_before_the_last_one_is_answered_and_nothing_differs(stage):
    voices = [talk(3, seed=1), talk(3, seed=2)]
    streams = [stage.begin(0), stage.begin(1)]
    for row, voice in enumerate(voices):
        stage.bank.write(row, voice, 3.0)
        stage.bank.finish(row)
    a, b = (np.array([s.slot]) for s in streams)
    turn = partial(stage.passes.turn, now=3.0, every_s=EVERY_S)
    assert list(turn(a, more=lambda: True)) == []
    assert stage.mean(streams[0])[1] == 0
    ((answered, _),) = turn(b, more=lambda: True)
    assert answered is a
    assert stage.mean(streams[0])[0] == pytest.approx(offline(voices[0]), abs=1e-5)
    assert stage.mean(streams[1])[1] == 0
    # The same streams again: first what has begun is answered, then what has come since.
    assert [slots.tolist() for slots, _ in turn(b)] == [b.tolist(), b.tolist()]
    assert stage.mean(streams[1])[0] == pytest.approx(offline(voices[1]), abs=1e-5)


def test_a_stream_that_leaves_with_its_answer_has_no_turn_that_it_was_chosen_for(stage):
    a, b = stage.begin(0), stage.begin(1)
    stage.bank.write(0, talk(2), 2.0)
    slots = np.array([a.slot, b.slot])
    assert list(stage.passes.turn(slots, 2.0, EVERY_S, more=lambda: True)) == []
    turns = stage.passes.turn(slots, 2.0, EVERY_S)
    assert next(turns)[0].tolist() == slots.tolist()
    stage.streams.leave(a)
    assert next(turns)[0].tolist() == [b.slot]


def test_what_has_begun_when_all_ends_is_answered(stage):
    voice, a = talk(2.03, seed=4), stage.begin(0)
    stage.bank.write(0, voice, 2.0)
    stage.bank.finish(0)
    assert list(stage.passes.turn(np.array([a.slot]), 2.0, EVERY_S, more=lambda: True)) == []
    stage.passes.run_out(2.0, EVERY_S)
    assert stage.mean(a)[0] == pytest.approx(offline(voice), abs=1e-5)


def test_hearing_out_takes_what_is_left_and_finishes_everybody(stage):
    voice = talk(2.03, seed=4)
    a, b = stage.begin(0), stage.begin(1)
    stage.bank.write(0, voice, 2.0)
    stage.bank.finish(0)  # and the other's source has not said that it is over
    stage.passes.run_out(2.0, EVERY_S)
    assert stage.engine.finished[[a.slot, b.slot]].all()
    assert stage.mean(a)[0] == pytest.approx(offline(voice), abs=1e-5)
