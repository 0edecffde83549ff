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
from streamcab.daemon.streams import StreamTable
from streamcab.errors import FeedError
from streamcab.feed import Subscriber
from streamcab.inference.engine import Engine
from streamcab.inference.window import window_of
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
def stage(supervisor=None, pseudonyms=None, streams=2, taps=()):
    """A reporter with a subscriber that hears everything from the start."""
    arch, model = CHECKPOINT.architecture, CHECKPOINT.model
    settings = Settings(ANYWHERE, window_s=20.0, max_streams=streams, pseudonyms=pseudonyms)
    clock = Still()
    table = StreamTable(arch, streams, clock)
    engine = Engine(model, table)
    passes = PassRunner(engine, window_of(model, streams, 800), table, gate=True)
    reporter = Reporter(CHECKPOINT, settings, table, True, clock, supervisor, taps)
    bank = Bank(RATE, streams, 30 * RATE)

    def begin(name, row=0):
        line = Line(name, bank, row, f"by hand: {name}")
        described = reporter.veiled(line, line.description)
        live = table.join(line, Hand(), NOW, pseudonyms.cover(line) if pseudonyms else name, described)
        reporter.begins(live)
        reporter.statuses(np.array([live.slot]))
        return live

    def hear(row, voice):
        bank.write(row, voice, NOW)
        ((_, done),) = passes.turn(table.slots, NOW, 0.1)
        return done

    def predict(live):
        """The stream's answer now; whether its state has changed by it."""
        slots = np.array([live.slot])
        changed = reporter.predictions(passes.read(slots), table.standings(slots, NOW))
        assert changed in ([], [live])
        return bool(changed)

    with reporter.feed, Subscriber(reporter.feed.endpoint) as feed:
        while not reporter.feed.joined:
            reporter.feed.poll()
        yield SimpleNamespace(
            reporter=reporter,
            feed=feed,
            bank=bank,
            begin=begin,
            hear=hear,
            predict=predict,
            streams=table,
            engine=engine,
            passes=passes,
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
        s.bank.overflows[0], s.streams.told[live.slot] = 2, 0.0
        s.reporter.statuses(np.array([live.slot]))
        status = next_of(s.feed, Status)
        assert (status.captured_s, status.lost_ms, status.overflows) == (2.05, 50.0, 2)
        assert 0 < status.classified_s <= 2.0
        assert (status.time, s.streams.told[live.slot]) == (UNIX, NOW)


def test_an_answer_that_changes_the_state_says_so():
    with stage() as s:
        live = s.begin("mic")
        s.hear(0, talk(6, pauses=False))
        assert s.predict(live)
        assert next_of(s.feed, Prediction).state == live.state == "live"
        # The same again is no news.
        assert not s.predict(live)
        live.line.move("stalled", "nothing comes")
        assert s.predict(live)
        s.reporter.statuses(np.array([live.slot]))
        heard = until(s.feed, lambda m: isinstance(m, Status) and m.detail)
        assert (heard[-1].source_state, heard[-1].detail) == ("stalled", "nothing comes")


def test_samples_that_look_encrypted_get_no_answer_while_they_do():
    with stage() as s:
        live = s.begin("call")
        s.hear(0, talk(6, pauses=False))
        live.line.flaw("encrypted?", "its codes are noise")
        s.predict(live)
        told = next_of(s.feed, Prediction)
        assert (told.probs, told.now, told.top, told.confidence, told.attention) == ({}, {}, None, None, None)
        assert (told.state, told.voiced_s, told.flaws) == ("silent", 0.0, ["encrypted?"])
        s.reporter.statuses(np.array([live.slot]))
        heard = until(s.feed, lambda m: isinstance(m, Status) and m.flaws)
        assert heard[-1].flaws == ["encrypted?"]
        live.line.flaw("encrypted?", "")
        s.predict(live)
        assert next_of(s.feed, Prediction).top is not None


def test_last_words_are_returned_and_then_forgotten(caplog):
    with stage() as s, caplog.at_level(logging.INFO):
        live = s.begin("mic")
        s.hear(0, talk(3))
        s.bank.finish(0)
        s.hear(0, silence(0))
        assert s.engine.finished[live.slot]
        assert s.predict(live)
        assert next_of(s.feed, Prediction).state == "ended"
        s.reporter.statuses(np.array([live.slot]))
        assert next_of(s.feed, Status).source_state == "ended"
        live.line.move("ended", "the tape is over")
        s.reporter.ends(live)
        assert "mic ended: the tape is over" in caplog.text
        assert "mic" not in s.reporter.feed._streams, "its last messages are retained for ever"


def test_the_daemon_speaks_of_itself_under_its_own_name():
    with stage() as s:
        s.begin("mic")
        s.reporter.itself(0.0123, 1234.56, {"skips": 2}, "all is well")
        own = next_of(s.feed, DaemonStatus)
        assert (own.stream, own.streams, own.pass_ms, own.intervals_per_s) == (DAEMON, 1, 12.3, 1234.6)
        assert (own.counters, own.detail, own.lost_ms) == ({"skips": 2}, "all is well", 0.0)
        assert (own.time, own.uptime_s) == (UNIX, 0.0)


def test_what_would_tell_whose_a_stream_is_is_not_said():
    pseudonyms = Pseudonyms(b"0123456789abcdef")
    with stage(pseudonyms=pseudonyms) as s:
        live = s.begin("anna")
        live.line.move("stalled", "nothing from anna")
        s.reporter.statuses(np.array([live.slot]))
        heard = until(s.feed, lambda m: isinstance(m, Status) and m.detail)
        assert heard[-1].detail == f"nothing from {pseudonyms.name('anna')}"
        assert heard[-1].source == f"by hand: {pseudonyms.name('anna')}"
        assert all("anna" not in str(m) for m in heard)


@pytest.fixture
def told(tmp_path):
    """A supervisor, and a function that gives its newest datagrams."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)

        def words():
            found = []
            while True:
                try:
                    found.append(sock.recv(4096).decode())
                except BlockingIOError:
                    return found

        yield Supervisor(str(tmp_path / "notify"), watched=True), words


def test_a_supervisor_hears_that_audio_is_waited_for_then_ready_then_alive(told):
    supervisor, words = told
    with stage(supervisor) as s:
        s.begin("mic")
        s.reporter.report(False, not s.passes.behind())
        assert words() == ["STATUS=1 stream, waiting for the first audio, model tiny 0123456789ab"]
        s.hear(0, talk(1))
        s.reporter.report(True, not s.passes.behind())
        (ready,) = words()
        assert ready.splitlines()[0] == "READY=1"
        assert "1 stream, 0.0 s behind, model tiny" in ready
        assert ready.splitlines()[-1] == "WATCHDOG=1"
        s.reporter.report(False, not s.passes.behind())
        (alive,) = words()
        assert alive.startswith("STATUS=1 stream")
        assert alive.endswith("WATCHDOG=1")
        s.reporter.stopping()
        assert words()[0].startswith("STOPPING=1")


def test_a_daemon_that_answers_nothing_while_audio_waits_says_nothing(told):
    supervisor, words = told
    with stage(supervisor) as s:
        s.begin("mic")
        s.hear(0, talk(1))
        s.reporter.report(True, not s.passes.behind())
        words()
        s.bank.write(0, talk(1), NOW)
        s.reporter.report(False, not s.passes.behind())
        assert words() == []
        s.reporter.report(True, not s.passes.behind())
        assert len(words()) == 1


def test_sources_without_a_stream_are_ready_at_once(told):
    supervisor, words = told
    with stage(supervisor) as s:
        s.reporter.report(False, not s.passes.behind())
        assert words()[0].startswith("READY=1\nSTATUS=0 streams, model tiny")


def test_sources_that_are_lost_are_named_to_the_supervisor(told):
    supervisor, words = told
    with stage(supervisor, streams=5) as s:
        for row in range(5):
            live = s.begin(f"call-{row}", row)
            if row:
                live.line.move("lost", "gone")
        s.reporter.report(True, not s.passes.behind())
        (ready,) = words()
        # Slots are given out in order, so names are too.
        assert "1 stream, call-1, call-2, call-3 and others lost: reconnecting, 0.0 s behind" in ready


def test_without_a_supervisor_nobody_is_told_and_nothing_breaks():
    with stage() as s:
        s.reporter.report(True, not s.passes.behind())
        s.reporter.stopping()


def test_a_tap_takes_every_message_and_one_that_fails_costs_the_feed_nothing(caplog):
    taken = []

    def fails(message):
        raise RuntimeError("a bug")

    with stage(taps=(fails, taken.append)) as s:
        s.begin("mic")
        heard = until(s.feed, lambda m: isinstance(m, Status))
    assert [type(message) for message in taken] == [ModelInfo, Status]
    assert [type(message) for message in heard] == [ModelInfo, Status]
    assert caplog.text.count("no longer kept") == 1


def test_an_address_that_is_taken_is_an_error_before_anything_is_said():
    with stage() as s, pytest.raises(FeedError, match="taken"):
        Reporter(CHECKPOINT, Settings(s.reporter.feed.endpoint), s.streams, True, Still(), None)
