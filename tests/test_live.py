"""The main job as in real use: processes, a microphone, a subscriber that shares no code with us, and a terminal."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import zmq
from patience import PATIENCE_S, until
from ports import free_port
from serving import ANYWHERE, STREAMCAB, run, running, save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.nn.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(
        Checkpoint(tiny_model(2, stages=SMALL_STAGES), {"name": "tiny"}), tmp_path_factory.mktemp("live")
    )


@pytest.fixture
def endpoint():
    return f"tcp://127.0.0.1:{free_port()}"


class Stranger:
    """A subscriber with pyzmq and json alone."""

    def __init__(self, endpoint, topic="v1/"):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.RCVTIMEO, round(1000 * PATIENCE_S))
        self.socket.subscribe(topic)
        self.socket.connect(endpoint)

    def until(self, wanted):
        while True:
            topic, body = self.socket.recv_multipart()
            message = json.loads(body)
            assert (
                topic.decode()
                == f"v1/{message['stream']}/{message['kind'] if message['kind'] != 'daemon' else 'daemon'}"
            )
            if wanted(message):
                return message

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.destroy(linger=0)


@pytest.mark.audio
def test_a_microphone_is_heard_and_a_stranger_reads_of_it(virtual_microphone, model, endpoint, tmp_path):
    voice = write_wav(tmp_path / "voice.wav", talk(12, 48000, rms=0.2), 48000)
    words = (
        "listen",
        "--device",
        "0",
        "--json",
        "--model",
        model,
        "--endpoint",
        endpoint,
        "--every",
        "0.025",
    )
    with running(*words, env=virtual_microphone.env) as daemon, Stranger(endpoint) as stranger:
        first = stranger.until(lambda m: m["kind"] == "prediction" and m["sample"] > 0)
        assert first["state"] in ("warming", "silent")
        assert first["top"] is None
        virtual_microphone.play(voice)
        live = stranger.until(lambda m: m.get("state") == "live" and m.get("voiced_s", 0) > 3)
        assert sum(live["probs"].values()) == pytest.approx(1)
        assert live["top"] == max(live["probs"], key=live["probs"].get)
        assert live["lost_ms"] == 0
        assert len(live["attention"]) == 40
        status = stranger.until(lambda m: m["kind"] == "status" and m["stream"] == live["stream"])
        assert status["rate"] in (44100, 48000)
        # It says on its own output what it says on the feed.
        own = json.loads(daemon.stdout.readline())
        assert own["run"] == live["run"]


@pytest.mark.audio
def test_devices_lists_the_microphone(virtual_microphone):
    done = run("devices", env=virtual_microphone.env)
    assert done.returncode == 0, done.stderr
    assert "pulse" in done.stdout.decode()


@pytest.mark.audio
def test_a_microphone_that_is_not_there_is_one_line(virtual_microphone, model):
    words = ("listen", "--model", model, "--device", "no such thing", "--endpoint", ANYWHERE)
    done = run(*words, env=virtual_microphone.env)
    assert done.returncode == 1
    assert b"no such thing" in done.stderr
    assert b"streamcab devices" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_demo_plays_its_clips_and_ends_with_a_summary(model):
    done = run("demo", "--no-view", "--model", model)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for clip in (f"{accent}-{i}" for accent in ("us", "uk") for i in range(1, 5)):
        assert f"{clip} " in text
    note = text[text.index("These were synthetic voices") :]
    assert "The page ended with the demo" in note
    assert max(map(len, note.splitlines())) < 80, "a word is broken in a narrow terminal"
    assert text.count(" ended ") >= 8


@pytest.mark.terminal
def test_the_demo_draws_in_a_terminal_and_leaves_it_clean(model, tmp_path):
    if shutil.which("tmux") is None:
        pytest.skip("no terminal without tmux: apt install tmux")

    name = f"streamcab-{os.getpid()}-demo"  # its socket lies in a folder of all programs

    def tmux(*words):
        return subprocess.run(
            ["tmux", "-L", name, *words], capture_output=True, text=True, timeout=PATIENCE_S
        )

    for voice in ("us-4", "uk-1"):
        write_wav(tmp_path / f"{voice}.wav", talk(3, 8000), 8000)
    command = " ".join(map(str, (*STREAMCAB, "demo", "--model", model, "--clips", tmp_path)))
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", f"{command}; echo code=$?; exec sh")
    try:
        until(lambda: "uk-1" in tmux("capture-pane", "-p").stdout, "the view shows no stream")
        assert tmux("display", "-p", "#{alternate_on}").stdout.strip() == "1"
        until(lambda: "code=0" in tmux("capture-pane", "-p").stdout, "the demo does not end")
        assert tmux("display", "-p", "#{alternate_on} #{cursor_flag}").stdout.strip() == "0 1"
        assert "us-4" in tmux("capture-pane", "-p", "-S", "-60").stdout
    finally:
        tmux("kill-server")


def test_listen_and_watch_are_two_processes_with_one_feed(model, endpoint, tmp_path):
    voice = write_wav(tmp_path / "voice.wav", talk(6), 8000)
    words = ("listen", "--file", voice, "--loop", "--no-view", "--model", model, "--endpoint", endpoint)
    with running(*words), running("watch", endpoint, "--json") as watcher:
        lines = [json.loads(watcher.stdout.readline()) for _ in range(20)]
    assert {m["stream"] for m in lines} == {"voice"}
    assert [m["seq"] for m in lines] == sorted({m["seq"] for m in lines})


def test_watching_nobody_ends_when_told(tmp_path):
    def catches_sigterm():
        status = Path(f"/proc/{watcher.pid}/status").read_text(encoding="utf-8")
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        return caught >> (signal.SIGTERM - 1) & 1

    with running("watch", f"ipc://{tmp_path}/nobody", "--json") as watcher:
        until(catches_sigterm)
        watcher.terminate()
        assert watcher.wait(PATIENCE_S) == 0
