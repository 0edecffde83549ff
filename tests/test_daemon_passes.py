"""The daemon's ear by hand: rings are filled, times are handed in, and the windows hold what was heard."""

import logging

import numpy as np
import pytest
from serving import Hand
from speech import SMALL_STAGES, silence, talk, tiny_model

from streamcab.audio.quality import SILENT_S
from streamcab.audio.ring import Bank
from streamcab.classifier import Classifier
from streamcab.daemon.passes import WARN_S, PassRunner
from streamcab.daemon.settings import KEEP_S
from streamcab.daemon.streams import Live, StreamTable
from streamcab.inference.engine import Engine
from streamcab.inference.window import Window
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source import Line

RATE = 8000
MODEL = tiny_model(3, stages=SMALL_STAGES)
EVERY_S = 0.5


def nobody(slots, intervals):
    raise AssertionError("a stream that a clock paces is told when it is due, not by the ear")


class Stage:
    """An ear, and streams of one bank that a test begins."""

    def __init__(self, rows=3, length=1200):
        arch = MODEL.architecture
        self.engine = Engine(MODEL, rows)
        self.window = Window(rows, len(arch.labels), arch.classifiers, length)
        self.roster = StreamTable(self.engine)
        self.ear = PassRunner(self.engine, self.window, self.roster, gate=True, every_s=EVERY_S)
        self.bank = Bank(RATE, rows, 60 * RATE)

    def begin(self, row, live=True):
        slot = self.engine.attach(self.bank, row)
        self.ear.reset(slot)
        stream = Live(Line(f"call-{row}", self.bank, row, "by hand"), Hand(live=live), f"call-{row}", slot)
        self.roster.join(stream, 0.0)
        return stream

    def mean(self, stream):
        means, votes = self.window.answer(np.array([stream.slot]))
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
    heard = stage.ear.hear(stage.roster.slots(), 1, 4.0, nobody)
    # Each stream's delay comes out of the net ahead of its first interval.
    assert heard == sum(len(v) // 200 + stage.engine.delay for v in voices)
    for stream, voice in zip(streams, voices, strict=True):
        probs, votes = stage.mean(stream)
        assert votes > 0
        assert probs == pytest.approx(offline(voice), abs=1e-5)
        assert stage.roster.news[stream.slot]
        assert stage.roster.power[stream.slot] > 0
        assert stage.engine.finished[stream.slot]


def test_only_the_streams_whose_turn_it_is_are_heard(stage):
    a, b = stage.begin(0), stage.begin(1)
    for row in (0, 1):
        stage.bank.write(row, talk(3, seed=row), 3.0)
    stage.ear.hear(np.array([a.slot]), 1, 3.0, nobody)
    assert stage.engine.heard[[a.slot, b.slot]].tolist() == [120, 0]


def test_a_stream_that_no_clock_paces_is_told_each_answer_as_it_stood(stage):
    voice, told = talk(4, seed=5), []
    a = stage.begin(0, live=False)
    stage.bank.write(0, voice, 0.0)
    stage.bank.finish(0)

    def tell(slots, intervals):
        told.append((slots.tolist(), intervals, stage.mean(a)[0], bool(stage.roster.news[a.slot])))

    stage.ear.hear(stage.roster.slots(), 1, 0.0, tell)
    every = round(EVERY_S / 0.025)
    assert [slots for slots, *_ in told] == [[a.slot]] * 8
    assert [n for _, n, *_ in told] == [every * k + stage.engine.delay for k in range(1, 9)]
    assert told[-1][2] == pytest.approx(offline(voice), abs=1e-5)
    assert told[3][2] != told[-1][2]
    # What has been told is no news; only what came after the last telling would be.
    assert not stage.roster.news[a.slot]


def test_paced_and_unpaced_streams_share_a_pass(stage):
    live, fast = stage.begin(0), stage.begin(1, live=False)
    voices, told = [talk(3, seed=7), talk(3, seed=8)], []
    for row, voice in enumerate(voices):
        stage.bank.write(row, voice, 3.0)
        stage.bank.finish(row)
    stage.ear.hear(stage.roster.slots(), 1, 3.0, lambda slots, _: told.extend(slots.tolist()))
    assert set(told) == {fast.slot}
    for stream, voice in zip((live, fast), voices, strict=True):
        assert stage.mean(stream)[0] == pytest.approx(offline(voice), abs=1e-5)


def test_who_has_waited_too_long_skips_to_live_and_loses_the_oldest(stage, caplog):
    late, early, patient, over = (stage.begin(0), stage.begin(1), stage.begin(2, live=False), None)
    stage.bank.write(0, talk(5, seed=1), 5.0)
    stage.bank.write(1, talk(1, seed=2), 5.0)
    stage.bank.write(2, talk(5, seed=3), 5.0)
    assert stage.ear.behind()
    with caplog.at_level(logging.WARNING):
        stage.ear.skip_to_live(2.0, 100.0)
    dropped = stage.engine.dropped / RATE
    assert dropped[late.slot] == pytest.approx(5 - KEEP_S, abs=0.025)
    assert dropped[[early.slot, patient.slot]].tolist() == [0.0, 0.0]
    assert stage.ear.skips == 1
    assert over is None
    assert "1 streams had waited for 2 s: skipped 4.8 s" in caplog.text


def test_a_stream_that_has_ended_skips_nothing(stage):
    a = stage.begin(0)
    stage.bank.write(0, talk(5, seed=1), 5.0)
    stage.bank.finish(0)
    stage.ear.skip_to_live(2.0, 100.0)
    assert stage.engine.dropped[a.slot] == 0
    assert stage.ear.skips == 0


def test_skips_are_warned_of_once_in_a_while(stage, caplog):
    stage.begin(0)
    for now in (100.0, 101.0, 101.0 + WARN_S):
        stage.bank.write(0, silence(3), now)
        stage.ear.skip_to_live(1.0, now)
    assert stage.ear.skips == 3
    assert len([r for r in caplog.records if "skipped" in r.message]) == 2


def test_behind_is_more_than_what_is_left_after_a_skip(stage):
    stage.begin(0)
    stage.bank.write(0, silence(KEEP_S), 1.0)
    assert not stage.ear.behind()
    stage.bank.write(0, silence(0.01), 1.0)
    assert stage.ear.behind()


def test_a_muted_source_is_silent_until_it_is_not(stage):
    a = stage.begin(0)
    slots = stage.roster.slots()
    for now in (0.0, 1.0, SILENT_S):
        stage.bank.write(0, silence(1), now)
        stage.ear.examine(slots, now)
    assert a.line.state == "silent"
    assert "muted" in a.line.detail
    stage.bank.write(0, talk(1), SILENT_S + 1)
    stage.ear.examine(slots, SILENT_S + 1)
    assert a.line.state == "live"


def test_what_is_wrong_with_samples_is_told_when_it_comes_and_when_it_has_gone(stage, caplog):
    a = stage.begin(0)
    slots = stage.roster.slots()
    with caplog.at_level(logging.WARNING, "streamcab.daemon"):
        stage.bank.write(0, np.clip(20 * talk(1), -1, 1), 1.0)
        stage.ear.examine(slots, 1.0)
        assert a.flaws == ["clipping"]
        stage.bank.write(0, talk(1), 60.0)
        stage.ear.examine(slots, 60.0)
        assert a.flaws == []
    assert [r.message.rpartition(": ")[2] for r in caplog.records] == ["clipping", "nothing any more"]


def test_warming_up_leaves_nothing_behind(stage):
    stage.ear.warm_up()
    assert stage.engine.free == 3
    assert stage.window.seen.tolist() == [0, 0, 0]
    a = stage.begin(0)
    voice = talk(3, seed=9)
    stage.bank.write(0, voice, 3.0)
    stage.bank.finish(0)
    stage.ear.hear(stage.roster.slots(), 1, 3.0, nobody)
    assert stage.mean(a)[0] == pytest.approx(offline(voice), abs=1e-5)


def test_a_slot_begins_afresh(stage):
    a = stage.begin(0)
    stage.bank.write(0, talk(3), 3.0)
    stage.ear.hear(stage.roster.slots(), 1, 3.0, nobody)
    assert stage.window.seen[a.slot] > 0
    stage.ear.reset(a.slot)
    assert stage.mean(a) == ({"au": 0.0, "uk": 0.0, "us": 0.0}, 0)


def test_a_new_stream_has_not_the_flaws_of_the_one_before(stage, caplog):
    stage.begin(0)
    stage.bank.write(0, np.clip(20 * talk(1), -1, 1), 1.0)
    stage.ear.examine(stage.roster.slots(), 1.0)
    stage.roster.leave(stage.roster[stage.roster.slots()[0]])
    stage.engine.detach(int(stage.engine.attached[0]))
    stage.bank.reset(0)
    caplog.clear()
    b = stage.begin(0)
    stage.bank.write(0, talk(1), 60.0)
    stage.ear.examine(stage.roster.slots(), 60.0)
    assert b.flaws == []
    assert caplog.records == []


def test_hearing_out_takes_what_is_left_and_finishes_everybody(stage):
    voice = talk(2.03, seed=4)
    a, b = stage.begin(0), stage.begin(1)
    stage.bank.write(0, voice, 2.0)
    stage.bank.finish(0)  # and the other's source has not said that it is over
    stage.ear.hear_out(2.0, nobody)
    assert stage.engine.finished[[a.slot, b.slot]].all()
    assert stage.mean(a)[0] == pytest.approx(offline(voice), abs=1e-5)
