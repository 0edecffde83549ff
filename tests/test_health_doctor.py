"""`streamcab doctor`: each check on a machine that is well and on one that is not."""

import json
import os
import socket
from pathlib import Path

import pytest
from health_feed import Speaker, daemon, run

from streamcab.cli import health
from streamcab.health import doctor
from streamcab.rtp.udp import BUFFER


def test_the_buffer_is_the_one_that_rtp_asks_for() -> None:
    assert doctor.RECEIVE_BUFFER == BUFFER


@pytest.mark.parametrize(("text", "grade"), [("212992\n", "warn"), (f"{BUFFER}\n", "ok"), ("what?", "ok")])
def test_receive_buffer(tmp_path: Path, text: str, grade: str) -> None:
    (tmp_path / "rmem_max").write_text(text)
    found = doctor.receive_buffer(tmp_path / "rmem_max")
    assert found.grade == grade
    assert ("sysctl -w net.core.rmem_max=16777216" in found.mend) == (grade == "warn")


def test_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.permissions(tmp_path / "none").grade == "ok"
    (tmp_path / "pcmC0D0c").touch()
    (tmp_path / "pcmC0D0p").touch()
    assert doctor.permissions(tmp_path).said == "1 can be opened"
    # root may everything, and tests may run as root.
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = doctor.permissions(tmp_path)
    assert (found.grade, found.said) == ("warn", "pcmC0D0c cannot be opened by this user")
    assert "usermod -aG audio" in found.mend


@pytest.mark.parametrize(
    ("now", "synchronised", "grade"), [(0.0, True, "bad"), (1.8e9, False, "warn"), (1.8e9, True, "ok")]
)
def test_clock(now: float, synchronised: bool, grade: str) -> None:
    assert doctor.clock(now, synchronised).grade == grade


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        found = doctor.port(number, socket.SOCK_STREAM, "metrics", "metrics --listen")
        assert (found.grade, found.said) == ("warn", "metrics: Address already in use")
    assert doctor.port(number, socket.SOCK_STREAM, "metrics", "metrics --listen").grade == "ok"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert doctor.port(sock.getsockname()[1], socket.SOCK_DGRAM, "RTP", "listen --rtp").grade == "warn"


def test_a_feed_that_speaks_is_well_and_a_stranger_on_its_port_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Speaker() as speaker:
        speaker.beat = [daemon()]
        monkeypatch.setattr(doctor, "ANSWER_S", 20.0)
        assert doctor.feed_port(speaker.endpoint).said == "in use by a daemon that answers"
    monkeypatch.setattr(doctor, "ANSWER_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        found = doctor.feed_port(f"tcp://127.0.0.1:{stranger.getsockname()[1]}")
    assert found.grade == "warn"
    assert "shows its owner" in found.mend


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> doctor.Finding:
        raise RuntimeError("boom")

    for check in ("model", "gpu", "microphones"):  # these take seconds
        monkeypatch.setattr(doctor, check, doctor.cores)
    monkeypatch.setattr(doctor, "curve", broken)
    *_, last = doctor.examine("tcp://127.0.0.1:1", 1, 1)
    assert (last.name, last.grade) == ("encryption", "bad")
    assert "RuntimeError: boom" in last.said


def test_the_command_names_everything_and_how_to_mend_it() -> None:
    done = run("doctor", "--json")
    assert done.returncode in (0, 1), done.stderr
    found = {f["name"]: f for f in map(json.loads, done.stdout.splitlines())}
    assert {"model", "compute", "cores", "microphones", "sound cards", "rmem_max", "clock"} <= found.keys()
    assert {"port 5557", "port 9464", "port 5004", "descriptors", "encryption"} <= found.keys()
    assert found["model"]["grade"] == found["encryption"]["grade"] == "ok"
    assert all(f["mend"] for f in found.values() if f["grade"] != "ok")
    assert done.returncode == any(f["grade"] == "bad" for f in found.values())


def test_on_a_terminal_a_finding_is_hung_below_its_first_word_and_in_a_pipe_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "sysctl -w net.core.rmem_max=16777216, to stay"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert health._hung(text, 10) == f"sysctl -w\n{' ' * 10}net.core.rmem_max=16777216, to\n{' ' * 10}stay"
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert health._hung(text, 10) == text
