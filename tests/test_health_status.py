"""`streamcab status`: what it calls well, what it shows, and the codes it ends with."""

import json
from pathlib import Path

import pytest
from feeding import status
from health_feed import Speaker, daemon, model, prediction, run

from streamcab.feed.curve import ServerKeys, create
from streamcab.health.status import (
    LOST,
    REFUSED,
    SICK,
    SILENT,
    WELL,
    Snapshot,
    duration,
    observe,
    screen,
    troubles,
    verdict,
)
from streamcab.media.calls import Calls
from streamcab.message import AnyMessage
from streamcab.rtp.packet import Fate


def heard(*messages: AnyMessage) -> Snapshot:
    snapshot = Snapshot()
    for message in messages:
        snapshot.take(message)
    return snapshot


def twice(*messages: AnyMessage, **last: object) -> Snapshot:
    """What is known when the daemon has spoken of itself before and after some messages."""
    return heard(daemon(seq=1), *messages, daemon(seq=2, **last))


def test_a_daemon_that_speaks_and_loses_nothing_is_well() -> None:
    assert verdict(twice(status(), prediction(), model())) == WELL
    assert verdict(twice()) == WELL, "no streams, such as between calls, is no trouble"


@pytest.mark.parametrize(
    ("snapshot", "word"),
    [
        (twice(status("usb", state="lost")), "usb lost"),
        (twice(status("usb", lag_ms=2_500.0)), "usb more than 2 s behind"),
        (twice(lost_ms=40.0), "40 ms of audio lost"),
        (twice(counters={"skips": 2}), "skips grew by 2"),
        (twice(counters={"refused-full": 1}), "refused-full grew by 1"),
        (heard(daemon(seq=1)), "no more messages"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_not_well(snapshot: Snapshot, word: str) -> None:
    assert verdict(snapshot) == SICK
    assert any(word in text for text in troubles(snapshot))
    assert word in screen(snapshot, "x")


@pytest.mark.parametrize("name", LOST)
def test_no_counter_of_loss_may_grow(name: str) -> None:
    snapshot = heard(daemon(seq=1, counters={name: 7}), daemon(seq=2, counters={name: 8}))
    assert verdict(snapshot) == SICK
    (text,) = troubles(snapshot)
    assert f"{name} grew by 1" in text
    assert verdict(heard(daemon(seq=1, counters={name: 7}), daemon(seq=2, counters={name: 7}))) == WELL


def test_dead_letters_are_named_as_long_as_they_lie_there() -> None:
    snapshot = heard(daemon(seq=1, counters={"sink-dead": 3}), daemon(seq=2, counters={"sink-dead": 3}))
    assert "dead letters: 3; `streamcab sinks dead`" in screen(snapshot, "here")
    assert "dead letters" not in screen(twice(), "here")


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(("refused", "code"), [(9, WELL), (10, SICK), (100, SICK)])
def test_a_tenth_of_what_arrives_may_not_be_refused(name: str, refused: int, code: int) -> None:
    before, after = {"received": 50, name: 3}, {"received": 150, name: 3 + refused}
    snapshot = heard(daemon(seq=1, counters=before), daemon(seq=2, counters=after))
    assert verdict(snapshot) == code
    assert [name in text for text in troubles(snapshot)] == [True] * (code == SICK)


def test_several_reasons_to_refuse_add_up() -> None:
    after = {"received": 100, "jumped": 4, "unknown_type": 6}
    snapshot = heard(daemon(seq=1), daemon(seq=2, counters=after))
    (text,) = troubles(snapshot)
    assert "unknown_type 6, jumped 4" in text


def test_every_fate_of_a_packet_has_its_place_in_the_rule() -> None:
    harmless = {"accepted", "comfort_noise", "event", "empty", "rtcp", "duplicate"}
    assert {fate.name.lower() for fate in Fate} - harmless <= LOST.keys() | REFUSED.keys()


def test_every_call_that_a_media_server_refuses_or_cuts_off_has_its_place_in_the_rule() -> None:
    calls = {name for name in Calls(1, 1.0).counts if name.startswith("media_")}
    # What is late and was not heard is in lost_ms.
    assert calls - {"media_calls", "media_resumed", "media_messages", "media_late"} <= LOST.keys()
    cut = {
        "refused_full",
        "too_many_connections",
        "flooded",
        "too_big",
        "closed_malformed",
        "defects",
        "errors",
    }
    assert {f"media_{name}" for name in cut} <= LOST.keys()


def test_what_the_daemon_says_of_itself_is_a_trouble() -> None:
    words = "overloaded: streams wait 90 ms too long for their turn; new streams are refused"
    snapshot = twice(detail=words)
    assert verdict(snapshot) == SICK
    assert troubles(snapshot) == [words]
    assert screen(snapshot, "x").count(words) == 1


@pytest.mark.parametrize("gone", [{"state": "lost"}, {"source_state": "stalled"}], ids=str)
def test_a_source_that_brings_nothing_makes_no_stream_late(gone: dict[str, str]) -> None:
    found = troubles(twice(status("call", lag_ms=9_000.0, **gone)))
    assert not any("behind" in text for text in found)


def test_a_call_that_is_silent_for_a_while_is_well() -> None:
    assert verdict(twice(status("call", lag_ms=9_000.0, source_state="stalled"))) == WELL


def test_what_was_lost_long_ago_is_no_trouble_now() -> None:
    assert verdict(heard(daemon(seq=1, lost_ms=9e3), daemon(seq=2, lost_ms=9e3))) == WELL


def test_a_restart_forgets_what_was_before() -> None:
    snapshot = heard(daemon(seq=5, run="a"), status("old", state="lost", run="a"), daemon(seq=1, run="b"))
    assert snapshot.streams == {}
    assert not snapshot.twice
    snapshot.take(daemon(seq=2, run="b"))
    assert verdict(snapshot) == WELL


def test_the_sick_come_first_and_not_everybody_is_shown() -> None:
    many = [status(f"call-{n}") for n in range(50)]
    text = screen(twice(*many, status("zebra", state="lost")), "x")
    lines = [line for line in text.splitlines() if line.startswith("  ") and "!" not in line]
    assert lines[0].split()[:2] == ["zebra", "lost"]
    assert lines[-1] == "  and 31 more"


def test_ids_of_platforms_stay_in_their_column() -> None:
    names = (f"CA{'0' * 32}-outbound", "desk")
    lines = [line for line in screen(twice(*map(status, names)), "x").splitlines() if "ms behind" in line]
    assert (len(lines), len({line.index("ms behind") for line in lines})) == (2, 1)


def test_nothing_from_the_feed_moves_the_cursor() -> None:
    text = screen(twice(status(source="\x1b[2Jevil"), model(name="\x07x")), "x")
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (65, "1 min 5 s"), (86_400 * 3 + 4 * 3600 + 5, "3 d 4 h"), (60, "1 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_observing_ends_when_the_daemon_is_silent() -> None:
    class Silence:
        def recv(self, timeout_s: float | None = None) -> AnyMessage | None:
            return None

    times = iter(range(100))
    assert verdict(observe(Silence(), 5.0, lambda: float(next(times)))) == SILENT


def test_the_command_on_a_feed_that_is_well() -> None:
    with Speaker() as speaker:
        speaker.say(model())
        speaker.beat = [status(source="microphone: USB"), prediction(), daemon(uptime_s=3_700.0)]
        done = run("status", speaker.endpoint, "--wait", "20")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"streamcab at {speaker.endpoint}: well\nup 1 h 1 min, 1 stream, ")
        assert "uk 75%" in done.stdout
        assert "microphone: USB" in done.stdout
        as_json = json.loads(run("status", speaker.endpoint, "--wait", "20", "--json").stdout)
    assert as_json["code"] == 0
    assert [s["stream"] for s in as_json["streams"]] == ["mic"]
    assert as_json["daemon"]["kind"] == "daemon"


def test_the_command_on_a_feed_that_is_not_well() -> None:
    with Speaker() as speaker:
        speaker.beat = [status("usb", state="lost", detail="unplugged"), daemon()]
        done = run("status", speaker.endpoint, "--wait", "20")
    assert done.returncode == 1
    assert "NOT WELL\n  ! usb lost: is the source plugged in" in done.stdout
    assert "unplugged" in done.stdout


def test_the_command_on_a_feed_with_keys(tmp_path: Path) -> None:
    create(tmp_path, "server")
    create(tmp_path, "friend", allow=True)
    create(tmp_path, "stranger")
    with Speaker(keys=ServerKeys(tmp_path)) as speaker:
        speaker.beat = [status(), daemon()]
        words = ("status", speaker.endpoint, "--wait", "20", "--server-key", tmp_path / "server.key", "--key")
        assert run(*words, tmp_path / "friend.key_secret").returncode == 0
        done = run(*words, tmp_path / "stranger.key_secret")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_the_command_where_nobody_answers() -> None:
    done = run("status", "ipc:///nowhere/feed.ipc", "--wait", "0.1")
    assert done.returncode == 75
    assert done.stdout.startswith("no answer at ipc:///nowhere/feed.ipc")
    done = run("status", "nonsense://x")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert run("status", "--key", "a").returncode == 2
