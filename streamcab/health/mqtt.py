"""Publishes the feed to an MQTT broker: each stream's newest answer and status, retained, for Home Assistant too.

Owns the connection to the broker, which comes and goes by itself; what is said while it is gone is not kept,
since the newest is sent again. Knows nothing of payloads: see `homeassistant.py`.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from streamcab import __version__
from streamcab.errors import ConfigError, StreamcabError
from streamcab.extras import missing
from streamcab.feed import Subscriber
from streamcab.health.homeassistant import OFFLINE, ONLINE, EntityNames, device, payload
from streamcab.message import AnyMessage, DaemonStatus, ModelInfo, Prediction, Status

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger("streamcab.mqtt")

TURN_S = 0.2
KEEPALIVE_S = 30
WORDS = 3  # of the daemon about itself, after which every living stream has been heard
GOODBYE_S = 2.0


@dataclass(frozen=True)
class Broker:
    """The broker's address and our credentials."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca: str | None = None


class Bridge:
    """Publishes the messages given to `take`: each stream every `every_s` seconds at most, changes of state at once."""

    def __init__(
        self,
        publish: Callable[[str, bytes], None],
        names: EntityNames,
        every_s: float,
        discover: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish, self._names, self._every_s, self._clock = publish, names, every_s, clock
        self._discover = discover
        self._sent: dict[tuple[str, str], tuple[float, str]] = {}  # stream and kind: when, and the state
        self._devices: dict[str, bytes] = {}  # announcement by topic
        self._models: dict[str, ModelInfo] = {}
        self._left: dict[str, bytes] = {}  # devices of an earlier bridge or run, as they were announced
        self._words = 0
        self._run = ""
        self._available = ""

    def connected(self) -> None:
        """Tell the broker everything again: it is new, or back."""
        self._sent.clear()
        self._devices.clear()
        self._words = 0
        self._available = ""

    def found(self, topic: str, body: bytes) -> None:
        """Note a device that stands at the broker."""
        if topic not in self._devices and self._names.owned(body):
            self._left[topic] = body

    def take(self, message: AnyMessage) -> None:
        """Pass a message on, if it is due."""
        if message.run != self._run:
            self._run = message.run
            self._words = 0
            # Streams that did not survive the restart are found by their silence.
            self._left.update(self._devices)
            self._devices.clear()
        match message:
            case DaemonStatus():
                self._words += 1
                if self._words >= WORDS:
                    self._clear()
            case ModelInfo():
                self._models[message.stream] = message
            case Prediction() | Status():
                self._announce(message.stream)
                self._pass_on(message)
                if message.state == "ended" and isinstance(message, Status):
                    self._forget(message.stream)

    def alive(self, heard: bool) -> None:
        """Publish whether the daemon is heard, which Home Assistant shows as its availability."""
        word = ONLINE if heard else OFFLINE
        if word != self._available:
            self._available = word
            self._publish(self._names.available, word.encode())

    def _pass_on(self, message: Prediction | Status) -> None:
        kind = "prediction" if isinstance(message, Prediction) else "status"
        key, now = (message.stream, kind), self._clock()
        at, state = self._sent.get(key, (float("-inf"), ""))
        if now - at >= self._every_s or state != message.state:
            self._sent[key] = now, message.state
            self._publish(self._names.topic(message.stream, kind), payload(message))

    def _announce(self, stream: str) -> None:
        topic = self._names.device(stream)
        if not self._discover or topic in self._devices:
            return
        # Three turns without news and Home Assistant shows `unknown`.
        expire_s = max(int(3 * self._every_s), 10)
        config = device(self._names, stream, self._models.get(stream), __version__, expire_s)
        self._devices[topic] = json.dumps(config).encode()
        self._left.pop(topic, None)
        self._publish(topic, self._devices[topic])

    def _forget(self, stream: str) -> None:
        """Leave nothing retained of an ended stream: calls come and go by the thousand."""
        self._models.pop(stream, None)
        for kind in ("prediction", "status"):
            self._sent.pop((stream, kind), None)
            self._publish(self._names.topic(stream, kind), b"")
        topic = self._names.device(stream)
        if self._devices.pop(topic, None) is not None:
            self._publish(topic, b"")

    def _clear(self) -> None:
        """Remove the retained messages of earlier bridges or runs."""
        for topic, body in self._left.items():
            for old in (topic, *sorted(self._names.owned(body))):
                self._publish(old, b"")
        self._left.clear()


def bridge(
    feed: Subscriber,
    broker: Broker,
    names: EntityNames,
    stop: threading.Event,
    say: Callable[[str], None],
    *,
    every_s: float,
    discover: bool,
) -> None:
    """Pass `feed` on until `stop`. ConfigError: no paho-mqtt. StreamcabError: the broker refuses us."""
    news: SimpleQueue[tuple[str, str, bytes]] = SimpleQueue()
    client = _client(broker, names, news, discover)

    def publish(topic: str, body: bytes) -> None:
        # Nothing is kept while the broker is gone: `connected` sends the newest messages.
        if client.is_connected():
            client.publish(topic, body, qos=0, retain=True)

    passing = Bridge(publish, names, every_s, discover)
    where = f"{broker.host}:{broker.port}"
    client.connect_async(broker.host, broker.port, keepalive=KEEPALIVE_S)
    client.loop_start()
    try:
        while not stop.is_set():
            first = feed.recv(TURN_S)
            _learn(passing, news, where, say)
            if client.is_connected():
                passing.alive(feed.alive)
            if first is not None:
                for message in (first, *feed.drain()):
                    passing.take(message)
    finally:
        if client.is_connected():
            last = client.publish(names.available, OFFLINE, qos=1, retain=True)
            _wait(last, GOODBYE_S)
        client.disconnect()
        client.loop_stop()


def _learn(
    passing: Bridge, news: "SimpleQueue[tuple[str, str, bytes]]", where: str, say: Callable[[str], None]
) -> None:
    """Take over the events that the connection's own thread has seen since the last call."""
    while True:
        try:
            what, topic, body = news.get_nowait()
        except Empty:
            return
        match what:
            case "connected":
                passing.connected()
                say(f"connected to {where}")
            case "refused":
                raise StreamcabError(
                    f"the broker {where} refuses: {topic}; see --username and --password-file"
                )
            case "gone":
                log.warning("the broker %s cannot be reached (%s); trying again", where, topic)
            case "device":
                passing.found(topic, body)


def _client(
    broker: Broker, names: EntityNames, news: "SimpleQueue[tuple[str, str, bytes]]", discover: bool
) -> "Client":
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise missing("paho", "streamcab bridge") from None

    client = Client(CallbackAPIVersion.VERSION2)
    client.will_set(names.available, OFFLINE, qos=1, retain=True)
    client.reconnect_delay_set(1, 60)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls or broker.ca:
        try:
            client.tls_set(broker.ca)
        except OSError as error:
            raise ConfigError(f"cannot read {broker.ca}: {error.strerror or error}") from None

    # These run on paho's thread: they only pass the word.
    def on_connect(client: "Client", _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            news.put(("refused" if reason.value in (0x86, 0x87) else "gone", str(reason), b""))
            return
        news.put(("connected", "", b""))
        if discover:
            client.subscribe(names.devices)

    def on_disconnect(_client: "Client", _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            news.put(("gone", str(reason), b""))

    def on_message(_client: "Client", _data: Any, message: Any) -> None:
        if message.retain:
            news.put(("device", message.topic, message.payload))

    client.on_connect, client.on_disconnect, client.on_message = on_connect, on_disconnect, on_message
    client.on_connect_fail = lambda _client, _data: news.put(("gone", "no connection", b""))
    return client


def _wait(info: Any, timeout_s: float) -> None:
    try:
        info.wait_for_publish(timeout_s)
    except (RuntimeError, ValueError) as error:
        log.debug("closing the connection failed: %s", error)
