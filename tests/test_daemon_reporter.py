"""What the daemon says: a real feed, heard by a real subscriber, and a supervisor at the end of a real socket."""

import logging
import socket
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from serving import ANYWHERE, Hand, until
from speech import SMALL_STAGES, silence, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.daemon.passes import PassRunner
from streamcab.daemon.reporter import Reporter
from streamcab.daemon.settings import Settings
from streamcab.daemon.streams import Live, StreamTable
from streamcab.errors import FeedError
from streamcab.feed import Subscriber
from streamcab.inference.answer import PredictionBuilder
from streamcab.inference.engine import Engine
from streamcab.inference.window import Window
from streamcab.message import DAEMON, DaemonStatus, ModelInfo, Prediction, Status
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.notify import Supervisor
from streamcab.ops.pseudonyms import Pseudonyms
from streamcab.source import Line

RATE = 8000
NOW, UNIX = 100.0, 1_700_000_000.0
CHECKPOINT = Checkpoint(
    tiny_model(3, stages=SMALL_STAGES),
    {"name": "tiny", "licence": "none", "corpus": "made", "calibration": {"temperature": 1.5}},
    "0123456789ab",
)


class Still:
    """A clock that stands."""

    def monotonic(self):
        return NOW

    def time(self):
        return UNIX


@contextmanager
def stage(supervisor=None, veil=None, streams=2):
    """An announcer with a subscriber that hears everything from the start."""
    arch, model = CHECKPOINT.architecture, CHECKPOINT.model
    settings = Settings(ANYWHERE, window_s=20.0, max_streams=streams, veil=veil)
    engine, clock = Engine(model, streams), Still()
    window = Window(streams, len(arch.labels), arch.classifiers, 800)
    roster = StreamTable(engine, clock)
    ear = PassRunner(engine, window, roster, gate=True, every_s=0.1)
    answers = PredictionBuilder(arch, window, CHECKPOINT.hash, True, CHECKPOINT.confidence)
    announcer = Reporter(CHECKPOINT, settings, roster, ear, answers, clock, supervisor)
    bank = Bank(RATE, streams, 30 * RATE)

    def begin(name, row=0):
        slot = engine.attach(bank, row)
        ear.reset(slot)
        line = Line(name, bank, row, f"by hand: {name}")
        described = announcer.veiled(line, line.description)
        live = Live(line, Hand(), veil.cover(line) if veil else name, slot, described)
        roster.join(live, NOW)
        announcer.begins(live)
        return live

    def hear(row, voice):
        bank.write(row, voice, NOW)
        return ear.hear(roster.slots(), 1, NOW, lambda *_: None)

    with announcer.feed, Subscriber(announcer.feed.endpoint) as feed:
        while not announcer.feed.joined:
            announcer.feed.poll()
        yield SimpleNamespace(
            announcer=announcer, feed=feed, bank=bank, begin=begin, hear=hear, roster=roster, engine=engine
        )


def next_of(feed, kind):
    return until(feed, lambda m: isinstance(m, kind))[-1]


def test_a_stream_that_begins_is_introduced_with_its_model_and_its_state():
    with stage() as s:
        s.begin("mic")
        model = next_of(s.feed, ModelInfo)
        assert (model.stream, model.model, model.name) == ("mic", "0123456789ab", "tiny")
        assert (model.labels, model.rate, model.normaliser) == (["au", "uk", "us"], 8000, "running")
        assert (model.gate, model.window_s, model.licence, model.corpus) == (True, 20.0, "none", "made")
        assert (model.temperature, model.abstain_below) == (1.5, None)
        status = next_of(s.feed, Status)
        assert (status.stream, status.state, status.source_state) == ("mic", "warming", "live")
        assert (status.source, status.rate, status.captured_s) == ("by hand: mic", RATE, 0.0)


def test_a_status_says_how_much_was_captured_classified_and_lost():
    with stage() as s:
        live = s.begin("mic")
        next_of(s.feed, Status)
        s.hear(0, talk(2))
        s.bank.skip(0, 400, NOW)
        s.bank.overflows[0], s.roster.told[live.slot] = 2, 0.0
        s.announcer.statuses(np.array([live.slot]))
        status = next_of(s.feed, Status)
        assert (status.captured_s, status.lost_ms, status.overflows) == (2.05, 50.0, 2)
        assert 0 < status.classified_s <= 2.0
        assert (status.time, s.roster.told[live.slot]) == (UNIX, NOW)


def test_a_change_of_state_is_told_with_the_answer_that_brought_it():
    with stage() as s:
        live = s.begin("mic")
        next_of(s.feed, Status)
        slots = np.array([live.slot])
        s.hear(0, talk(6, pauses=False))
        assert s.announcer.answers(slots) == []
        kinds = [type(m) for m in until(s.feed, lambda m: isinstance(m, Status))]
        assert kinds == [Prediction, Status]
        assert live.state == "live"
        # The same again is no news: an answer, and no status.
        s.announcer.answers(slots)
        live.line.move("stalled", "nothing comes")
        s.announcer.answers(slots)
        heard = until(s.feed, lambda m: isinstance(m, Status))
        assert [type(m) for m in heard] == [Prediction, Prediction, Status]
        assert (heard[-1].source_state, heard[-1].detail) == ("stalled", "nothing comes")


def test_last_words_are_returned_and_then_forgotten(caplog):
    with stage() as s, caplog.at_level(logging.INFO):
        live = s.begin("mic")
        s.hear(0, talk(3))
        s.bank.finish(0)
        s.hear(0, silence(0))
        assert s.engine.finished[live.slot]
        assert s.announcer.answers(np.array([live.slot])) == [live]
        assert next_of(s.feed, Prediction).state == "ended"
        assert next_of(s.feed, Status).source_state == "ended"
        live.line.move("ended", "the tape is over")
        s.announcer.ends(live)
        assert "mic ended: the tape is over" in caplog.text
        assert "mic" not in s.announcer.feed._streams, "its last messages are retained for ever"


def test_the_daemon_speaks_of_itself_under_its_own_name():
    with stage() as s:
        s.begin("mic")
        s.announcer.itself(0.0123, 1234.56, {"skips": 2}, "all is well")
        own = next_of(s.feed, DaemonStatus)
        assert (own.stream, own.streams, own.pass_ms, own.intervals_per_s) == (DAEMON, 1, 12.3, 1234.6)
        assert (own.counters, own.detail, own.lost_ms) == ({"skips": 2}, "all is well", 0.0)
        assert (own.time, own.uptime_s) == (UNIX, 0.0)


def test_what_would_tell_whose_a_stream_is_is_not_said():
    veil = Pseudonyms(b"0123456789abcdef")
    with stage(veil=veil) as s:
        live = s.begin("anna")
        live.line.move("stalled", "nothing from anna")
        s.announcer.statuses(np.array([live.slot]))
        heard = until(s.feed, lambda m: isinstance(m, Status) and m.detail)
        assert heard[-1].detail == f"nothing from {veil.name('anna')}"
        assert heard[-1].source == f"by hand: {veil.name('anna')}"
        assert all("anna" not in str(m) for m in heard)


@pytest.fixture
def told(tmp_path):
    """A supervisor, and a function that gives its newest datagrams."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plug:
        plug.bind(str(tmp_path / "notify"))
        plug.setblocking(False)

        def words():
            found = []
            while True:
                try:
                    found.append(plug.recv(4096).decode())
                except BlockingIOError:
                    return found

        yield Supervisor(str(tmp_path / "notify"), watched=True), words


def test_a_supervisor_hears_that_audio_is_waited_for_then_ready_then_alive(told):
    supervisor, words = told
    with stage(supervisor) as s:
        s.begin("mic")
        s.announcer.report(0)
        assert words() == ["STATUS=1 stream, waiting for the first audio, model tiny 0123456789ab"]
        s.hear(0, talk(1))
        s.announcer.report(40)
        (ready,) = words()
        assert ready.splitlines()[0] == "READY=1"
        assert "1 stream, 0.0 s behind, model tiny" in ready
        assert ready.splitlines()[-1] == "WATCHDOG=1"
        s.announcer.report(0)
        (alive,) = words()
        assert alive.startswith("STATUS=1 stream")
        assert alive.endswith("WATCHDOG=1")
        s.announcer.stopping()
        assert words()[0].startswith("STOPPING=1")


def test_a_daemon_that_answers_nothing_while_audio_waits_says_nothing(told):
    supervisor, words = told
    with stage(supervisor) as s:
        s.begin("mic")
        s.hear(0, talk(1))
        s.announcer.report(40)
        words()
        s.bank.write(0, talk(1), NOW)
        s.announcer.report(0)
        assert words() == []
        s.announcer.report(1)
        assert len(words()) == 1


def test_sources_without_a_stream_are_ready_at_once(told):
    supervisor, words = told
    with stage(supervisor) as s:
        s.announcer.report(0)
        assert words()[0].startswith("READY=1\nSTATUS=0 streams, model tiny")


def test_sources_that_are_lost_are_named_to_the_supervisor(told):
    supervisor, words = told
    with stage(supervisor, streams=5) as s:
        for row in range(5):
            live = s.begin(f"call-{row}", row)
            if row:
                live.line.move("lost", "gone")
        s.announcer.report(1)
        (ready,) = words()
        # Slots are given out in order, so names are too.
        assert "1 stream, call-1, call-2, call-3 and others lost: reconnecting, 0.0 s behind" in ready


def test_without_a_supervisor_nobody_is_told_and_nothing_breaks():
    with stage() as s:
        s.announcer.report(1)
        s.announcer.stopping()


def test_an_address_that_is_taken_is_an_error_before_anything_is_said():
    with stage() as s, pytest.raises(FeedError, match="taken"):
        Reporter(CHECKPOINT, Settings(s.announcer.feed.endpoint), s.roster, None, None, Still(), None)
