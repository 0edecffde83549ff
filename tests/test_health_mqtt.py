"""`streamcab bridge mqtt`: what a broker is told, by the bridge alone and by the command at a real one."""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from feeding import PATIENCE_S, status
from health_feed import Speaker, command, daemon, model, prediction, printed, run, running
from patience import until
from ports import free_port

from streamcab.health.homeassistant import EntityNames, device, payload
from streamcab.health.mqtt import WORDS, Bridge

NAMES = EntityNames("streamcab", "homeassistant")


class Told:
    """A broker made of a dictionary, and a bridge to it whose clock stands still."""

    def __init__(self, discover: bool = True) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.retained: dict[str, bytes] = {}
        self.bridge = Bridge(self.publish, NAMES, 1.0, discover, lambda: self.now)

    def publish(self, topic: str, body: bytes) -> None:
        self.said.append(topic)
        if body:
            self.retained[topic] = body
        else:
            self.retained.pop(topic, None)


def test_ids_are_fit_for_home_assistant_and_differ() -> None:
    streams = ["mic", "a.b", "a:b", "a@b", "a_b", "10.0.0.1:5004-1f"]
    ids = [NAMES.id(s) for s in streams]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "streamcab_mic"
    assert all(c.isalnum() or c in "_-" for i in ids for c in i)


def test_a_device_says_where_each_value_stands() -> None:
    config = device(NAMES, "mic", model(), "0.1", 10)
    payloads = {
        NAMES.topic("mic", "prediction"): payload(prediction()),
        NAMES.topic("mic", "status"): payload(status()),
    }
    assert isinstance(config["cmps"], dict)
    for sensor in config["cmps"].values():
        members = json.loads(payloads[sensor["state_topic"]])
        name = sensor["value_template"].split("value_json.")[1].split()[0].rstrip(")")
        assert name in members, "the template asks for what is sent"
    assert NAMES.owned(json.dumps(config).encode()) == payloads.keys()
    assert EntityNames("other", "homeassistant").owned(json.dumps(config).encode()) == set()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"o": 1}', b'{"o": {"name": "zigbee2mqtt"}}', b"\xff"]
)
def test_devices_of_others_are_left_alone(body: bytes) -> None:
    assert NAMES.owned(body) == set()


def test_a_stream_is_sent_once_in_a_while_and_a_new_state_at_once() -> None:
    told = Told()
    answer = NAMES.topic("mic", "prediction")
    for _ in range(10):
        told.bridge.take(prediction())
    assert told.said.count(answer) == 1
    told.bridge.take(prediction(top=None, state="silent"))
    assert json.loads(told.retained[answer])["top"] is None
    told.now = 1.0
    told.bridge.take(prediction(state="silent"))
    assert told.said.count(answer) == 3
    assert told.said.count(NAMES.device("mic")) == 1


def test_an_ended_stream_leaves_nothing() -> None:
    told = Told()
    for message in (model(), status(), prediction(), prediction(state="ended"), status(state="ended")):
        told.bridge.take(message)
    assert told.retained == {}


def test_what_an_earlier_bridge_left_is_taken_away_once_the_living_have_spoken() -> None:
    told, before = Told(), Told()
    for stream in ("mic", "gone"):
        for message in (status(stream), prediction(stream)):
            before.bridge.take(message)
    told.retained = dict(before.retained) | {"homeassistant/device/lamp/config": b'{"o": {"name": "lamp"}}'}
    for topic, body in before.retained.items():
        told.bridge.found(topic, body)
    told.bridge.found("homeassistant/device/lamp/config", b'{"o": {"name": "lamp"}}')
    for _ in range(WORDS):
        told.bridge.take(status("mic"))
        told.bridge.take(daemon())
    assert not [topic for topic in told.retained if "gone" in topic]
    assert {NAMES.device("mic"), NAMES.topic("mic", "prediction"), "homeassistant/device/lamp/config"} <= (
        told.retained.keys()
    )


def test_streams_that_a_restart_has_ended_are_taken_away() -> None:
    told = Told()
    for message in (status("old", run="a"), prediction("old", run="a"), daemon(run="a")):
        told.bridge.take(message)
    for _ in range(WORDS):
        told.bridge.take(status("mic", run="b"))
        told.bridge.take(daemon(run="b"))
    assert sorted(told.retained) == [NAMES.device("mic"), NAMES.topic("mic", "status")]


def test_without_discovery_nothing_is_announced() -> None:
    told = Told(discover=False)
    told.bridge.take(status())
    assert told.said == [NAMES.topic("mic", "status")]


def test_the_daemon_is_available_while_it_is_heard_and_that_is_said_once() -> None:
    told = Told()
    for heard in (True, True, False, False):
        told.bridge.alive(heard)
    assert told.said == [NAMES.available] * 2
    assert told.retained == {NAMES.available: b"offline"}
    told.bridge.connected()
    told.bridge.alive(False)
    assert len(told.said) == 3, "a broker that was away is told again"


class Mosquitto:
    """A real broker on a port of its own, and a client that remembers what it is told."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.port = free_port()
        self.told: dict[str, bytes] = {}
        settings = f"listener {self.port} 127.0.0.1\nlog_type error\nuser root\n"
        if password is None:
            settings += "allow_anonymous true\n"
        else:
            secret = folder / "passwords"
            made = subprocess.run(
                ["mosquitto_passwd", "-b", "-c", secret, "me", password], timeout=PATIENCE_S
            )
            assert made.returncode == 0
            settings += f"allow_anonymous false\npassword_file {secret}\n"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", self._config])
        until(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_S).close()
        except ConnectionRefusedError:
            return False
        return True

    @contextmanager
    def listening(self) -> Iterator[dict[str, bytes]]:
        """The newest payload of every topic, as a new client gets it; empty ones are gone."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        told: dict[str, bytes] = {}
        ready = threading.Event()

        def on_message(_client: Any, _data: Any, message: Any) -> None:
            told[message.topic] = message.payload

        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = on_message
        client.on_connect = lambda c, *_: c.subscribe("#")
        client.on_subscribe = lambda *_: ready.set()
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        try:
            assert ready.wait(PATIENCE_S)
            yield told
        finally:
            client.disconnect()
            client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if shutil.which("mosquitto") is None:
        pytest.skip("no broker: apt install mosquitto")
    pytest.importorskip("paho.mqtt.client", reason="pip install 'streamcab[health]'")
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def test_the_newest_answers_are_at_the_broker(broker: Mosquitto) -> None:
    answer, words = NAMES.topic("mic", "prediction"), NAMES.topic("mic", "status")
    with Speaker() as speaker, broker.listening() as told:
        speaker.say(model())
        speaker.beat = [status(), prediction(), daemon()]
        with running(*command("bridge", "mqtt", speaker.endpoint, "--broker", broker.address)) as process:
            printed(process, f"connected to {broker.address}")
            until(lambda: {answer, words, NAMES.available, NAMES.device("mic")} <= told.keys())
            assert told[NAMES.available] == b"online"
            assert json.loads(told[answer])["top"] == "uk"
            assert json.loads(told[words])["state"] == "live"
            assert json.loads(told[NAMES.device("mic")])["dev"]["name"] == "streamcab mic"
            with broker.listening() as late:
                until(lambda: {answer, NAMES.device("mic")} <= late.keys())
            speaker.beat = [daemon()]
            speaker.say(prediction(state="ended"), status(state="ended"))
            until(lambda: not told[answer] and not told[words] and not told[NAMES.device("mic")])
        until(lambda: told.get(NAMES.available) == b"offline")


def test_a_bridge_that_is_killed_is_offline_and_the_next_one_cleans_up(broker: Mosquitto) -> None:
    with broker.listening() as told:
        with Speaker() as speaker:
            speaker.beat = [status("old"), daemon()]
            words = command("bridge", "mqtt", speaker.endpoint, "--broker", broker.address)
            with running(*words) as process:
                until(lambda: {NAMES.device("old"), NAMES.topic("old", "status")} <= told.keys())
                process.kill()
                process.wait(PATIENCE_S)  # the broker hears of its end before we can
                until(lambda: told.get(NAMES.available) == b"offline")
        # A daemon that never knew the old stream: the first one would repeat its status to the late joiner.
        with Speaker(run="a2") as speaker:
            speaker.beat = [status("new"), daemon()]
            words = command("bridge", "mqtt", speaker.endpoint, "--broker", broker.address)
            with running(*words):
                until(
                    lambda: (
                        told.get(NAMES.device("new"))
                        and not told[NAMES.device("old")]
                        and not told[NAMES.topic("old", "status")]
                    )
                )
                assert told[NAMES.available] == b"online"


def test_a_broker_that_was_away_is_told_again(broker: Mosquitto) -> None:
    with Speaker() as speaker:
        speaker.beat = [status(), daemon()]
        with running(*command("bridge", "mqtt", speaker.endpoint, "--broker", broker.address)) as process:
            printed(process, "connected")
            broker.kill()
            broker.start()  # and it remembers nothing
            printed(process, "connected")
            with broker.listening() as told:
                until(lambda: {NAMES.device("mic"), NAMES.topic("mic", "status")} <= told.keys())


def test_a_password_is_asked_for(tmp_path: Path, broker: Mosquitto) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("no mosquitto_passwd here")
    broker.kill()
    broker = Mosquitto(tmp_path, password="secret")
    broker.start()
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("secret\n")
    wrong.write_text("guess\n")
    try:
        with Speaker() as speaker:
            words = (
                "mqtt",
                speaker.endpoint,
                "--broker",
                broker.address,
                "--username",
                "me",
                "--password-file",
            )
            # paho leaves a socket pair of its own to the garbage collector, which is heard under -W error only.
            quiet = "import warnings; warnings.simplefilter('ignore', ResourceWarning)"
            done = run("bridge", *words, wrong, before=quiet)
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1
            assert "refuses" in done.stderr
            with running(*command("bridge", *words, right)) as process:
                printed(process, "connected")
    finally:
        broker.kill()


def test_without_the_extra_it_is_named() -> None:
    done = run("bridge", "mqtt", before="import sys; sys.modules['paho'] = None")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: streamcab bridge needs paho, which is not installed: pip install 'streamcab[health]'\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["kafka"], "mqtt"),
        (["mqtt", "--base", "a/#"], "is not valid at the start of an MQTT topic"),
        (["mqtt", "--broker", "somewhere"], "HOST:PORT"),
        (["mqtt", "--username", "me", "--password-file", "/nowhere"], "cannot read the password in /nowhere"),
    ],
)
def test_wrong_words(words: list[str], told: str) -> None:
    done = run("bridge", *words)
    assert done.returncode == 2
    assert told in done.stderr
