"""Calls over real sockets: WebSockets by clients of others, AudioSocket, TLS, refusals, and clients that misbehave."""

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from media_messages import (
    ULAW_SILENCE,
    audiohook_open,
    audiosocket,
    jambonz_start,
    twilio_media,
    twilio_start,
    twilio_stop,
)
from patience import PATIENCE_S
from serving import serving as daemon
from serving import until as heard_until
from speech import SMALL_STAGES, tiny_model
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from streamcab.audio.ring import Bank
from streamcab.errors import ConfigError, SourceError
from streamcab.media import signatures
from streamcab.media.admission import Secrets
from streamcab.message import Status, encode
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.pseudonyms import Pseudonyms
from streamcab.rtp.codec import TABLES
from streamcab.source import Line, Tunable
from streamcab.source.media import MediaSource

TOKEN = "a-token-of-enough-letters"
KEY = "0123456789abcdef"
ANYWHERE = "127.0.0.1:0"


@contextmanager
def serving(**settings: object) -> Iterator[MediaSource]:
    known: dict[str, object] = {"binds": [ANYWHERE], "max_streams": 8} | settings
    source = MediaSource(**known)  # type: ignore[arg-type]
    source.start()
    try:
        yield source
    finally:
        source.close()


def until(happens: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.005)


def lines(source: MediaSource, count: int) -> list[Line]:
    """The next lines, once there are so many."""
    found: list[Line] = []
    until(lambda: found.extend(source.streams()) or len(found) >= count, f"{count} streams")
    return sorted(found, key=lambda line: line.name)


def heard(line: Line, n: int) -> np.ndarray:
    """The first n samples, once they are there."""
    until(lambda: line.bank.written[line.row] >= n, f"{n} samples")
    return line.bank.read(np.array([line.row]), np.array([0]), n)[0]


def dial(source: MediaSource, path: str, **extra: object) -> ClientConnection:
    return connect(f"ws://{source.addresses[0]}{path}", compression=None, **extra)  # type: ignore[arg-type]


def refused(source: MediaSource, path: str, **headers: str) -> int:
    """The status with which a connection is refused."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    with pytest.raises(InvalidStatus) as error, dial(source, path, additional_headers=named):
        pass
    return error.value.response.status_code


def cut_off(client: socket.socket) -> bool:
    """Whether the server closes without a word."""
    client.settimeout(PATIENCE_S)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_call_of_twilio_is_two_streams_from_start_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[Line] = []
    states: list[str] = []
    finish = Bank.finish

    def finished(bank: Bank, row: int) -> None:
        states.extend(line.state for line in streams if line.row == row)
        finish(bank, row)

    monkeypatch.setattr(Bank, "finish", finished)
    with serving(number=lambda text: f"hidden-{text[-1]}") as source, dial(source, "/twilio") as client:
        client.send(twilio_start(tracks=("inbound", "outbound"), queue="sales"))
        codes = {"inbound": bytes(range(160)), "outbound": bytes(range(96, 256))}
        for k in range(3):
            for track, payload in codes.items():
                client.send(twilio_media(payload, 20 * k, track))
        inbound, outbound = streams = lines(source, 2)
        assert (inbound.name, outbound.name) == ("CA01-inbound", "CA01-outbound")
        assert inbound.call == {"platform": "twilio", "track": "inbound", "call": "CA01", "queue": "sales"}
        for line, payload in ((inbound, codes["inbound"]), (outbound, codes["outbound"])):
            assert (heard(line, 480) * 32768 == np.tile(TABLES["PCMU"][list(payload)], 3)).all()
        client.send(twilio_stop())
        until(lambda: all(line.bank.ended[line.row] for line in streams), "the end")
        # The reason is known before the reader learns of the end.
        assert states == ["ended", "ended"]


@pytest.mark.parametrize("hidden", [False, True])
def test_the_feed_tells_what_the_platform_says_unless_names_are_hidden(hidden: bool) -> None:
    pseudonyms = Pseudonyms(b"a salt of sixteen letters") if hidden else None
    model = Checkpoint(tiny_model(2, stages=SMALL_STAGES), {"name": "tiny"})
    source = MediaSource([ANYWHERE], max_streams=4)
    with (
        daemon(model, [source], max_streams=4, pseudonyms=pseudonyms) as feed,
        dial(source, "/twilio") as client,
    ):
        client.send(twilio_start(queue="sales"))
        for k in range(50):
            client.send(twilio_media(ULAW_SILENCE, 20 * k))
        status = heard_until(feed, lambda m: isinstance(m, Status))[-1]
        assert isinstance(status, Status)
        if hidden:
            assert status.call == {"platform": "twilio", "track": "inbound"}
            assert "CA01" not in encode(status).decode()
        else:
            assert status.call == {"platform": "twilio", "track": "inbound", "call": "CA01", "queue": "sales"}
            assert status.stream == "CA01"


def test_sighup_changes_who_may_send_and_the_patience() -> None:
    with serving() as source:
        assert isinstance(source, Tunable)
        source.retune(["192.0.2.0/24"], None, 5.0)
        host, port = source.addresses[0].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as client:
            assert cut_off(client)
        source.retune([], None, 5.0)
        assert get(source, "/health")[0] == 200
        with pytest.raises(ConfigError):
            source.retune(["nonsense"], None, 5.0)


def test_those_that_are_connected_hear_that_the_server_goes_away() -> None:
    with serving() as source, dial(source, "/twilio") as client:
        source.close()
        assert closed(client) == 1001


def test_a_call_of_jambonz_gets_the_subprotocol_that_it_asks_for() -> None:
    with serving() as source:
        with dial(source, "/jambonz", subprotocols=["audio.jambonz.org"]) as client:
            assert client.subprotocol == "audio.jambonz.org"
            client.send(jambonz_start())
            left, right = np.arange(320, dtype="<i2"), -np.arange(320, dtype="<i2")
            client.send(np.stack([left, right], 1).tobytes())
            callee, caller = lines(source, 2)
            assert (heard(caller, 320) * 32768 == left).all()
            assert (heard(callee, 320) * 32768 == right).all()
        until(lambda: caller.state == "ended", "a close without more is a hang-up here")


def test_numbers_are_pseudonyms() -> None:
    with serving(number=lambda text: f"hidden-{text[-1]}") as source, dial(source, "/jambonz") as client:
        client.send(jambonz_start(mix="mono"))
        client.send(bytes(640))
        (line,) = lines(source, 1)
        assert (line.call["from"], line.call["to"]) == ("hidden-0", "hidden-1")
        assert "555" not in json.dumps([line.call, line.labels, line.description])


def test_numbers_that_the_customer_passes_are_pseudonyms_too() -> None:
    own = {
        "From": "2025550100",
        "who": "+12025550101",
        "sip": "sip:+12025550101@x",
        "queue": "12",
        "empty": "",
    }
    with serving(number=lambda text: "hidden") as source, dial(source, "/twilio") as client:
        client.send(twilio_start(**own))
        client.send(twilio_media(ULAW_SILENCE, 0))
        (line,) = lines(source, 1)
        told = {k: v for k, v in line.call.items() if k not in ("platform", "track", "call")}
        assert told == {"From": "hidden", "who": "hidden", "sip": "hidden", "queue": "12"}


def test_a_connection_that_breaks_off_and_comes_back_carries_the_call_on() -> None:
    with serving() as source:
        with dial(source, "/twilio") as client:
            client.send(twilio_start())
            client.send(twilio_media(ULAW_SILENCE, 0))
            (line,) = lines(source, 1)
            client.socket.shutdown(socket.SHUT_RDWR)
            until(lambda: line.state == "lost", "the loss")
        with dial(source, "/twilio") as again:
            again.send(twilio_start(stream="MZ02"))
            again.send(twilio_media(ULAW_SILENCE, 0, stream="MZ02"))
            until(lambda: line.state == "live", "the return")
            assert source.streams() == []
            assert line.bank.skipped[line.row] > 0
            assert source.counters()["media_resumed"] == 1


def test_a_call_that_does_not_come_back_ends() -> None:
    with serving(idle_s=0.5) as source:
        with dial(source, "/twilio") as client:
            client.send(twilio_start())
            client.send(twilio_media(ULAW_SILENCE, 0))
            (line,) = lines(source, 1)
        until(lambda: line.state == "ended", "the end")
        assert "broke off" in line.detail


def test_audiohook_is_answered() -> None:
    with serving() as source, dial(source, "/audiohook") as client:
        client.send(audiohook_open())
        assert json.loads(client.recv(PATIENCE_S))["type"] == "opened"
        client.send(bytes(320))
        assert [line.name for line in lines(source, 2)] == ["co-1-agent", "co-1-caller"]


def test_audiosocket_over_tcp() -> None:
    call = bytes(range(16))
    with serving(binds=[], sockets=[ANYWHERE]) as source:
        host, port = source.addresses[0].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as client:
            samples = np.arange(160, dtype="<i2")
            talk = audiosocket(0x01, call) + audiosocket(0x10, samples.tobytes()) * 2
            client.sendall(talk[:21])
            client.sendall(talk[21:])
            (line,) = lines(source, 1)
            assert (heard(line, 320) * 32768 == np.tile(samples, 2)).all()
            client.settimeout(PATIENCE_S)
            assert client.recv(3) == b"\x10\x01\x40", "silence, so that Asterisk goes on"
        until(lambda: line.state == "ended", "the end")


def test_nothing_is_taken_from_whom_nobody_knows() -> None:
    with serving(
        secrets=Secrets(tokens=(TOKEN,), twilio_auth_token=KEY), url="wss://streamcab.example"
    ) as source:
        assert refused(source, "/twilio") == 401
        assert refused(source, "/twilio?token=wrong") == 401
        assert refused(source, "/vonage", Authorization="Bearer wrong") == 401
        assert refused(source, "/nothing") == 404
        for extra in (
            {"Authorization": f"Bearer {TOKEN}"},
            {"X-Twilio-Signature": signatures.twilio(KEY, "wss://streamcab.example/twilio")},
        ):
            with dial(source, "/twilio", additional_headers=extra) as client:
                assert client.response is not None
        with dial(source, f"/jambonz?token={TOKEN}") as client:
            assert client.response is not None
        assert source.counters()["media_unauthorized"] == 3
        assert source.streams() == []


def test_an_address_that_guesses_is_told_to_wait() -> None:
    with serving(secrets=Secrets(tokens=(TOKEN,))) as source:
        assert {refused(source, "/twilio") for _ in range(20)} == {401}
        assert refused(source, f"/twilio?token={TOKEN}") == 429


def test_a_page_of_another_site_gets_no_connection() -> None:
    with serving() as source:
        assert refused(source, "/twilio", Origin="https://evil.example") == 401


def test_what_other_machines_reach_wants_secrets_and_tls(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--media-secrets"):
        MediaSource(["0.0.0.0:0"], max_streams=1)
    with pytest.raises(ConfigError, match="--media-plain"):
        MediaSource(["0.0.0.0:0"], max_streams=1, secrets=Secrets(tokens=(TOKEN,)))
    with pytest.raises(ConfigError, match="--allow"):
        MediaSource(sockets=["0.0.0.0:0"], max_streams=1)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        MediaSource(["nonsense"], max_streams=1)
    with pytest.raises(ConfigError, match="certificate"):
        MediaSource([ANYWHERE], max_streams=1, tls=(tmp_path / "none", tmp_path / "none"))


def test_who_is_not_allowed_is_cut_off() -> None:
    with serving(binds=[], sockets=[ANYWHERE], allow=["192.0.2.0/24"]) as source:
        host, port = source.addresses[0].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as client:
            assert cut_off(client)
        assert source.counters()["media_not_allowed"] == 1


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*words, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with serving(tls=(cert, key)) as source:
        trust = ssl.create_default_context(cafile=str(cert))
        with connect(f"wss://{source.addresses[0]}/twilio", ssl=trust) as client:
            client.send(twilio_start())
            client.send(twilio_media(ULAW_SILENCE, 0))
            lines(source, 1)
        with pytest.raises((OSError, ConnectionClosed, EOFError, Exception)):
            dial(source, "/twilio")


def get(source: MediaSource, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{source.addresses[0]}{path}", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_ready() -> None:
    with serving(max_streams=1) as source:
        assert get(source, "/health") == (200, "alive\n")
        assert get(source, "/ready") == (200, "ready\n")
        with dial(source, "/twilio") as client:
            client.send(twilio_start())
            client.send(twilio_media(ULAW_SILENCE, 0))
            lines(source, 1)
            assert get(source, "/ready")[0] == 503
            assert get(source, "/health")[0] == 200
            assert refused(source, "/twilio") == 503
        assert get(source, "/")[0] == 404


def test_a_port_that_is_taken() -> None:
    with serving() as source, pytest.raises(SourceError, match="cannot serve calls"):
        MediaSource([source.addresses[0]], max_streams=1).start()


def closed(client: ClientConnection) -> int:
    """The code with which the server closes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            client.recv(PATIENCE_S)
    return client.close_code or 1006


@contextmanager
def good_call(source: MediaSource) -> Iterator[Callable[[], None]]:
    """A call beside one that misbehaves; what is yielded checks that it is still heard."""
    with dial(source, "/twilio") as client:
        client.send(twilio_start(call="good", stream="MZ-good"))
        sent = 0

        def say() -> None:
            nonlocal sent
            client.send(twilio_media(ULAW_SILENCE, 20 * sent, stream="MZ-good"))
            sent += 1

        say()
        (line,) = lines(source, 1)

        def check() -> None:
            say()
            heard(line, 160 * sent)
            assert line.state == "live" or line.state == "stalled"

        yield check


def flood(client: ClientConnection) -> None:
    client.send(twilio_start())
    with contextlib.suppress(ConnectionClosed):
        for k in range(10_000):
            client.send(twilio_media(ULAW_SILENCE * 10, 200 * k))


def long_message(client: ClientConnection) -> None:
    client.send("x" * 300_000)


def nonsense(client: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        for _ in range(1000):
            client.send("{")


def no_text(client: ClientConnection) -> None:
    client.socket.sendall(b"\x81\x82\x00\x00\x00\x00\xff\xfe" * 60)


def unmasked(client: ClientConnection) -> None:
    client.socket.sendall(b"\x81\x02hi")


@pytest.mark.parametrize(
    ("misbehave", "code"),
    [(flood, 1008), (long_message, 1009), (nonsense, 1002), (no_text, 1002), (unmasked, 1002)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_client_that_misbehaves_costs_itself_only(
    misbehave: Callable[[ClientConnection], None], code: int
) -> None:
    with serving() as source, good_call(source) as still_heard, dial(source, "/twilio") as bad:
        misbehave(bad)
        assert closed(bad) in (code, 1006)
        still_heard()


def test_a_client_that_is_gone_before_its_answers_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as source, good_call(source) as still_heard:
        for _ in range(5):
            bad = dial(source, "/twilio")
            bad.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            bad.socket.sendall(b"\x89\x80\x00\x00\x00\x00" * 5000)
            bad.socket.close()  # a reset: nothing can be written to it
        still_heard()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_one_address_has_so_many_connections() -> None:
    with serving(per_address=2) as source:
        with dial(source, "/twilio"), dial(source, "/twilio"), pytest.raises((OSError, EOFError, Exception)):
            dial(source, "/twilio")
        until(lambda: source.counters().get("media_too_many_connections"), "the refusal")


def test_an_opening_that_never_comes_is_closed_in_the_end() -> None:
    with serving() as source:
        host, port = source.addresses[0].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(PATIENCE_S)
            client.sendall(b"GET /twilio HTTP/1.1\r\nHost: ")
            assert client.recv(1) == b""


def test_many_connections_are_read_in_turns() -> None:
    async def call(address: str, number: int) -> None:
        from websockets.asyncio.client import connect as dial_async

        stream = f"MZ{number}"
        async with dial_async(f"ws://{address}/twilio", compression=None) as client:
            await client.send(twilio_start(call=f"c{number}", stream=stream))
            for k in range(10):
                await client.send(twilio_media(bytes([number]) * 160, 20 * k, stream=stream))
            await client.send(twilio_stop(f"c{number}", stream))
            await client.wait_closed() if number < 0 else None

    async def calls(address: str) -> None:
        await asyncio.gather(*(call(address, number) for number in range(50)))

    with serving(max_streams=64) as source:
        asyncio.run(calls(source.addresses[0]))
        found = lines(source, 50)
        for line in found:
            number = int(line.name[1:])
            assert (heard(line, 1600) * 32768 == TABLES["PCMU"][number]).all()
        assert source.counters().get("media_malformed", 0) == 0


CLIENT = """
import WebSocket from "ws";
const [url, ...messages] = process.argv.slice(1);
const client = new WebSocket(url);
client.on("open", () => { for (const m of messages) client.send(m); client.close(1000); });
client.on("close", (code) => console.log(code));
client.on("error", (error) => { console.error(String(error)); process.exit(1); });
"""
MODULES = Path(__file__).parents[1] / "examples"


@pytest.mark.skipif(not (MODULES / "node_modules/ws").is_dir(), reason="make node-test installs ws")
def test_a_call_by_ws_of_node() -> None:
    with serving() as source:
        words = ["node", "--input-type=module", "-e", CLIENT, f"ws://{source.addresses[0]}/twilio"]
        talk = [twilio_start(), *(twilio_media(bytes(range(160)), 20 * k) for k in range(3)), twilio_stop()]
        done = subprocess.run(
            [*words, *talk], cwd=MODULES, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.stdout == "1000\n", done.stderr
        (line,) = lines(source, 1)
        assert (heard(line, 480) * 32768 == np.tile(TABLES["PCMU"][:160], 3)).all()
