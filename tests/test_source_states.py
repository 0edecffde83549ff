"""The states of a source: the machine itself, and sources that drive it."""

import io
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from network import cable
from patience import PATIENCE_S
from patience import until as eventually
from ports import free_port
from rtp_peer import Talker, bye, listening, sending, until
from serving import STREAMCAB, save_model
from serving import until as heard_until
from speech import SMALL_STAGES, tiny_model

from streamcab.audio.ring import Bank
from streamcab.feed import Subscriber
from streamcab.message import SourceState, Status
from streamcab.nn.checkpoint import Checkpoint
from streamcab.rtp.decoder import available
from streamcab.source.line import MOVES, Line
from streamcab.source.stdin import Stdin

needs_av = pytest.mark.skipif(not available(), reason="PyAV is not here")
CALLER = str(Path(__file__).with_name("rtp_caller.py"))


def line(state: SourceState = "starting") -> Line:
    return Line("mic", Bank(8000, 1, 8000), 0, "a test", state)


def test_only_the_moves_of_the_picture_are_made(caplog):
    caplog.set_level(logging.DEBUG, "streamcab.source")
    for was, reachable in MOVES.items():
        for to in MOVES:
            caplog.clear()
            one, told = line(was), []
            one.changed = lambda told=told: told.append(1)
            assert one.move(to, "why") == (to in reachable)
            assert one.state == (to if to in reachable else was)
            assert len(told) == len(caplog.records) == (to in reachable)


def test_every_state_can_be_reached_and_left_but_the_end():
    reached = set().union(*MOVES.values())
    assert reached == MOVES.keys() - {"starting"}
    assert [state for state, moves in MOVES.items() if not moves] == ["ended"]


def test_a_change_is_one_line_that_says_why_and_a_repetition_is_none(caplog):
    caplog.set_level(logging.INFO, "streamcab.source")
    one = line()
    one.move("live")
    one.move("lost", "unplugged")
    one.move("lost", "still unplugged")
    assert one.detail == "still unplugged"
    one.move("reconnecting", "not there yet")
    one.move("live", "2.0 s have been lost")
    assert one.detail == ""
    said = ["mic: live", "mic: lost: unplugged", "mic: reconnecting: not there yet"]
    assert [r.getMessage() for r in caplog.records] == [*said, "mic: live again: 2.0 s have been lost"]


def test_what_comes_too_late_is_refused():
    one = line("lost")
    assert not one.move("stalled", "nothing has come")  # the reader noticed later than the source
    one = line("stalled")
    assert not one.move("live", only_from="silent")
    assert one.state == "stalled"


def test_one_call_of_a_thousand_does_not_warn(caplog):
    caplog.set_level(logging.INFO, "streamcab.source")
    one = line("live")
    one.loudest = logging.INFO
    one.move("stalled")
    assert [r.levelno for r in caplog.records] == [logging.INFO]


def test_a_pipe_whose_writer_pauses_stalls_and_is_live_again():
    out, into = os.pipe()
    with open(out, "rb") as reader, open(into, "wb", buffering=0) as writer:
        source = Stdin("s16le", 8000, file=reader)
        source.start()
        assert source.line.state == "starting"
        writer.write(bytes(1600))
        eventually(lambda: source.streams() == [] and source.line.state == "live")
        eventually(lambda: source.streams() == [] and source.line.state == "stalled")
        assert "nothing has come for 1." in source.line.detail
        writer.write(bytes(1600))
        eventually(lambda: source.line.state == "live")
        writer.close()
        eventually(lambda: source.line.state == "ended")
        assert source.line.detail == ""
        source.close()


def test_a_pipe_that_breaks_off_ends_and_says_so():
    source = Stdin("s16le", 8000, file=io.BytesIO(b""))
    source.start()
    eventually(lambda: source.line.state == "ended")
    assert "no samples arrived" in source.line.detail
    source.close()


@pytest.mark.parametrize("kind", [0, pytest.param(9, marks=needs_av)])
@pytest.mark.parametrize("how", ["goodbye", "closed"])
def test_the_reason_is_known_before_the_reader_learns_of_the_end(monkeypatch, kind, how):
    known, finish = [], Bank.finish

    def finished(bank, row):
        known.extend((line.state, line.detail) for line in listener.lines if line.row == row)
        finish(bank, row)

    monkeypatch.setattr(Bank, "finish", finished)
    with listening() as listener, sending() as sock:
        talker, to = Talker(kind=kind), ("127.0.0.1", listener.port)
        for _ in range(6):
            sock.sendto(talker.say(bytes(160))[0], to)
        (call,) = listener.calls(1)
        if how == "goodbye":
            sock.sendto(bye(talker.ssrc), to)
        else:
            listener.source.close()
        until(lambda: call.bank.ended[call.row], "the end")
    why = "the sender said goodbye" if how == "goodbye" else "the source was closed"
    assert known == [("ended", why)]


def test_a_sender_that_pauses_stalls_and_is_live_again():
    with listening() as listener, sending() as sock:
        talker, to = Talker(), ("127.0.0.1", listener.port)

        def speak():
            for _ in range(6):
                sock.sendto(talker.say(bytes(160))[0], to)

        speak()
        (call,) = listener.calls(1)
        assert call.state == "live"
        until(lambda: call.state == "stalled", "the pause to be noticed")
        speak()
        until(lambda: call.state == "live", "the call to be live again")
        sock.sendto(bye(talker.ssrc), to)
        until(lambda: call.state == "ended", "the end")
        assert call.detail == "the sender said goodbye"


def test_many_calls_that_fall_silent_at_once_are_one_warning(caplog):
    with listening(idle_s=60) as listener, sending() as sock:
        talkers = [Talker(ssrc=n) for n in range(8)]

        def speak():
            for talker in talkers:
                for _ in range(6):
                    sock.sendto(talker.say(bytes(160))[0], ("127.0.0.1", listener.port))

        speak()
        calls = listener.calls(8)
        until(lambda: all(call.state == "stalled" for call in calls), "the silence to be noticed")
        speak()
        until(lambda: all(call.state == "live" for call in calls), "the calls to be live again")
        until(lambda: any("again" in r.getMessage() for r in caplog.records), "the warning's end")
        silence, again = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING][-2:]
        assert silence == "RTP: no packet from any of 8 calls for 1 s; is the network down?"
        assert again.startswith("RTP: packets arrive again after ")


# -- processes and interfaces --------------------------------------------------------------------------------


@contextmanager
def daemon(folder: Path, *words: str, before: tuple[str, ...] = ()) -> Iterator[Subscriber]:
    """`streamcab listen` as a process, and somebody who listens to it; its log lies in `folder`."""
    model = save_model(Checkpoint(tiny_model(2, stages=SMALL_STAGES), {"name": "tiny"}), folder)
    endpoint = f"ipc://{folder}/feed"
    command = [
        *before,
        *STREAMCAB,
        "listen",
        "--quiet",
        "--model",
        str(model),
        "--endpoint",
        endpoint,
        *words,
    ]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*command, "--log-level", "info"], stderr=log) as process,
    ):
        try:
            with Subscriber(endpoint) as feed:
                heard_until(feed, lambda m: m.stream == "daemon")
                yield feed
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0


@contextmanager
def calling(*words: str, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """The caller as a process."""
    with subprocess.Popen([*before, sys.executable, CALLER, *words]) as process:
        try:
            yield process
        finally:
            process.kill()


def state_is(*wanted: str):
    return lambda m: isinstance(m, Status) and m.source_state in wanted


def test_a_sender_that_is_killed_ends_and_one_that_restarts_is_a_new_call(tmp_path, measured):
    port = free_port(2)
    with daemon(tmp_path, "--rtp", f"127.0.0.1:{port}", "--idle", "2") as feed:
        with calling("127.0.0.1", str(port), "1"):
            first = heard_until(feed, state_is("live"))[-1]
        began = time.monotonic()
        assert heard_until(feed, state_is("stalled"))[-1].stream == first.stream
        measured("killed to stalled, ms", 1000 * (time.monotonic() - began))
        with calling("127.0.0.1", str(port), "1", "9"):
            messages = heard_until(feed, lambda m: state_is("live")(m) and m.stream != first.stream)
            messages += heard_until(feed, lambda m: state_is("ended")(m) and m.stream == first.stream)
    assert messages[-1].detail.startswith("no packet for 2 s")
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert log.count(f"{first.stream}: stalled: no packet for 1 s") == 1


@pytest.mark.parametrize("how", ["link", "interface"])
def test_a_network_interface_that_goes_and_comes_back(tmp_path, measured, how):
    port = 5004  # in namespaces of their own
    group = "239.77.7.7" if how == "interface" else "10.77.0.1"
    bind = f"239.77.7.7%cab0:{port}" if how == "interface" else f"10.77.0.1:{port}"
    with (
        cable() as wire,
        daemon(tmp_path, "--rtp", bind, "--idle", "60", before=wire.inside(wire.receiver)) as feed,
        calling(group, str(port), "8", before=wire.inside(wire.sender)),
    ):
        live = {heard_until(feed, state_is("live"))[-1].stream}
        while len(live) < 8:
            live.add(heard_until(feed, state_is("live"))[-1].stream)
        down = time.time()
        if how == "link":
            wire.link("down")
        else:
            wire.unplug()
        # A busy machine may have stalled a call before: the second without a packet is this one.
        assert heard_until(feed, lambda m: state_is("stalled")(m) and m.time > down + 1)[-1].stream in live
        if how == "link":
            wire.link("up")
        else:
            wire.plug()
        began = time.monotonic()
        back = set()
        while back != live:
            back.add(heard_until(feed, state_is("live"))[-1].stream)
        measured("back to 8 calls live, ms", 1000 * (time.monotonic() - began))
        gap = heard_until(feed, lambda m: state_is("live")(m) and m.lost_ms > 0)[-1]
        assert gap.lost_ms > 800
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert log.count("no packet from any of 8 calls") == 1
    assert log.count("packets arrive again after") == 1
