"""Serializers of call audio: what each makes of the documented messages, and that nothing from outside breaks one."""

import contextlib
import json
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from media_messages import (
    asterisk_start,
    audiohook,
    audiohook_open,
    audiosocket,
    exotel_media,
    exotel_start,
    jambonz_start,
    plivo_media,
    plivo_start,
    telnyx_media,
    telnyx_start,
    twilio_media,
    twilio_start,
    twilio_stop,
    vonage_connected,
)

from streamcab.media.asterisk import FORMATS, Asterisk
from streamcab.media.audiohook import AudioHook, duration_s
from streamcab.media.audiosocket import AudioSocket
from streamcab.media.events import Audio, Digit, Event, Gap, Malformed, Reply, Start, Stop
from streamcab.media.exotel import Exotel
from streamcab.media.freeswitch import FreeSwitch, Jambonz
from streamcab.media.plivo import Plivo, extra_headers
from streamcab.media.protocols import WEBSOCKET, protocol_of
from streamcab.media.serializer import Handshake, Serializer
from streamcab.media.telnyx import Telnyx
from streamcab.media.twilio import Twilio
from streamcab.media.vonage import Vonage
from streamcab.text import printable

NUMBERS = {"from": "+12025550100", "to": "+12025550101"}


def fed(serializer: Serializer, *messages: str | bytes) -> list[Event]:
    """The events of these messages."""
    found: list[Event] = []
    for message in messages:
        take = serializer.text if isinstance(message, str) else serializer.binary
        found += take(message.encode() if isinstance(message, str) else message)
    return found


def opened(kind: type[Serializer], query: dict[str, str] | None = None, **headers: str) -> Serializer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return kind(Handshake(f"/{kind.name}", params=query or {}, headers=named, serial=7))


def test_twilio_sends_both_tracks_with_their_times() -> None:
    start, first, second, stop = fed(
        opened(Twilio),
        '{"event": "connected", "protocol": "Call", "version": "1.0.0"}',
        twilio_start(tracks=("inbound", "outbound"), queue="sales"),
        twilio_media(b"\x01" * 160, 0),
        twilio_media(b"\x02" * 160, 20, "outbound"),
        '{"event": "mark", "sequenceNumber": "4", "streamSid": "MZ01", "mark": {"name": "x"}}',
        twilio_stop(),
    )
    assert start == Start("CA01", ("inbound", "outbound"), "PCMU", 8000, labels={"queue": "sales"})
    assert first == Audio(0, b"\x01" * 160, 0)
    assert second == Audio(1, b"\x02" * 160, 20)
    assert stop == Stop("hung up")


def test_signalwire_spells_tracks_and_codecs_its_own_way() -> None:
    message = json.loads(twilio_start(tracks=("inbound_track", "outbound_track")))
    message["start"]["mediaFormat"] = {"encoding": "L16", "sampleRate": 16000, "channels": 1}
    start, audio = fed(opened(Twilio), json.dumps(message), twilio_media(bytes(640), 0, "outbound_track"))
    assert isinstance(start, Start)
    assert (start.tracks, start.codec, start.rate) == (("inbound", "outbound"), "L16", 16000)
    assert audio == Audio(1, bytes(640), 0)


def test_a_digit_is_counted_and_not_kept() -> None:
    dtmf = '{"event": "dtmf", "streamSid": "MZ01", "dtmf": {"track": "inbound_track", "digit": "4"}}'
    assert fed(opened(Twilio), twilio_start(), dtmf)[1:] == [Digit()]


@pytest.mark.parametrize(
    ("encoding", "codec"), [("PCMU", "PCMU"), ("PCMA", "PCMA"), ("audio/x-mulaw", "PCMU"), ("L16", "L16")]
)
def test_telnyx_names_the_codec_of_the_far_end(encoding: str, codec: str) -> None:
    start, audio = fed(opened(Telnyx), telnyx_start(encoding), telnyx_media(b"\x55" * 160, 2, "outbound"))
    assert start == Start(
        "v3:call-1", ("inbound", "outbound"), codec, 8000, labels={"queue": "sales"}, numbers=NUMBERS
    )
    assert audio == Audio(1, b"\x55" * 160, 20)


def test_plivo_ends_by_closing() -> None:
    serializer = opened(Plivo)
    start, audio = fed(serializer, plivo_start(), plivo_media(bytes(640), 1, "1700000000000"))
    assert start == Start("pl-1", ("inbound",), "L16", 16000, labels={"a": "1", "b": "2"})
    assert audio == Audio(0, bytes(640), 1700000000000)
    assert serializer.hung_up(1000)
    assert not serializer.hung_up(1006)


@pytest.mark.parametrize("value", ["a=1;b=2", "a=1,b=2", '{"a": 1, "b": "2"}', {"a": "1", "b": "2"}])
def test_plivos_extra_headers_come_in_three_forms(value: object) -> None:
    assert {k: str(v) for k, v in extra_headers(value).items()} == {"a": "1", "b": "2"}


def test_exotel_spells_names_in_two_ways() -> None:
    for message in (
        exotel_start(),
        exotel_start().replace("call_sid", "callSid").replace("sample_rate", "sampleRate"),
    ):
        start, audio = fed(opened(Exotel), message, exotel_media(bytes(1600), 2))
        assert start == Start("ex-1", ("caller",), "L16LE", 8000, labels={"queue": "sales"}, numbers=NUMBERS)
        assert audio == Audio(0, bytes(1600), 100)


def test_vonage_has_a_call_id_only_if_it_is_asked_for() -> None:
    start, audio = fed(opened(Vonage), vonage_connected(queue="sales", call_uuid="vo-1"), bytes(640))
    assert start == Start("vo-1", ("mix",), "L16LE", 16000, labels={"queue": "sales", "call_uuid": "vo-1"})
    assert audio == Audio(0, bytes(640))
    (nameless,) = fed(opened(Vonage), vonage_connected(8000))
    assert isinstance(nameless, Start)
    assert nameless.call == "000007"


def test_jambonz_interleaves_two_parties() -> None:
    start, audio = fed(opened(Jambonz), jambonz_start(), bytes(1280), b"")
    assert isinstance(start, Start)
    assert (start.call, start.tracks, start.interleaved) == ("jb-1", ("caller", "callee"), True)
    assert (start.codec, start.rate, start.numbers["from"]) == ("L16LE", 16000, "12025550100")
    assert start.labels["queue"] == "sales"
    assert audio == Audio(0, bytes(1280))


def test_jambonz_must_describe_its_audio() -> None:
    with pytest.raises(Malformed):
        fed(opened(Jambonz), bytes(320))
    with pytest.raises(Malformed):
        fed(opened(Jambonz), "{}")


@pytest.mark.parametrize("first", [[], ["some words"], ['{"queue": "sales"}']], ids=["none", "words", "json"])
def test_mod_audio_stream_is_described_by_its_address(first: list[str]) -> None:
    serializer = opened(FreeSwitch, {"rate": "16000", "channels": "2", "call": "fs-1", "token": "secret"})
    start, audio = fed(serializer, *first, bytes(640))
    assert isinstance(start, Start)
    assert (start.call, start.rate, start.tracks) == ("fs-1", 16000, ("caller", "callee"))
    assert "secret" not in start.labels.values()
    assert audio == Audio(0, bytes(640))


def test_mod_audio_stream_may_say_nothing_at_all() -> None:
    start, _ = fed(opened(FreeSwitch, x_call_id="fs-2"), bytes(320))
    assert start == Start("fs-2", ("caller",), "L16LE", 8000)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_asterisk_names_its_format(form: str, as_json: bool) -> None:
    start, audio = fed(opened(Asterisk), asterisk_start(form, as_json=as_json), bytes(160))
    assert isinstance(start, Start)
    assert (start.call, (start.codec, start.rate)) == ("as-1", FORMATS[form])
    assert audio == Audio(0, bytes(160))


def test_asterisk_is_told_which_format_to_send() -> None:
    with pytest.raises(Malformed, match="slin16"):
        fed(opened(Asterisk), asterisk_start("g722"))


def test_audiohook_is_answered_and_interleaves() -> None:
    serializer = opened(AudioHook, audiohook_session_id="se-1", audiohook_organization_id="org")
    reply, start, audio, pong, gap, closed, stop = fed(
        serializer,
        audiohook_open(),
        bytes(3200),
        audiohook("ping", 2),
        audiohook("discarded", 3, start="PT1S", discarded="PT2.5S"),
        audiohook("close", 4, reason="end"),
    )
    assert isinstance(reply, Reply)
    answer = json.loads(reply.text)
    assert (answer["type"], answer["seq"], answer["clientseq"]) == ("opened", 1, 1)
    assert answer["parameters"]["media"][0]["channels"] == ["external", "internal"]
    assert isinstance(start, Start)
    assert (start.call, start.tracks, start.interleaved) == ("co-1", ("caller", "agent"), True)
    assert start.numbers == NUMBERS
    assert audio == Audio(0, bytes(3200))
    assert isinstance(pong, Reply)
    assert json.loads(pong.text)["type"] == "pong"
    assert gap == Gap(2.5)
    assert isinstance(closed, Reply)
    assert json.loads(closed.text)["seq"] == 3
    assert stop == Stop("end")


def test_a_probe_of_audiohook_is_no_call() -> None:
    (reply,) = fed(opened(AudioHook), audiohook_open("00000000-0000-0000-0000-000000000000"))
    assert isinstance(reply, Reply)
    assert json.loads(reply.text)["parameters"]["media"] == []


@pytest.mark.parametrize(
    "messages",
    [
        [audiohook("ping", 1)],
        [audiohook_open(), audiohook("ping", 3)],
        [audiohook_open(), audiohook_open()],
        [audiohook_open(channels=("external", "external"))],
    ],
)
def test_audiohook_out_of_order_is_refused(messages: list[str]) -> None:
    with pytest.raises(Malformed):
        fed(opened(AudioHook), *messages)


@pytest.mark.parametrize(("text", "seconds"), [("PT1.5S", 1.5), ("PT1H2M3S", 3723.0), ("PT2M", 120.0)])
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["PT", "PT-1S", "PT1e400S", "P1D", "PT25H", "", 5, None])
def test_no_durations(text: object) -> None:
    with pytest.raises(Malformed):
        duration_s(text)


CALL = uuid.UUID("12345678-1234-5678-1234-567812345678")
TALK = audiosocket(0x01, CALL.bytes) + audiosocket(0x10, bytes(range(160)) * 2) * 3 + audiosocket(0x03, b"5")


@given(st.lists(st.integers(1, 40), min_size=1))
def test_audiosocket_is_a_byte_stream(sizes: list[int]) -> None:
    serializer, at, found = AudioSocket(Handshake("")), 0, []
    while at < len(TALK):
        size = sizes[len(found) % len(sizes)]
        found += serializer.stream(TALK[at : at + size])
        at += size
    audio = Audio(0, bytes(range(160)) * 2)
    assert found == [Start(str(CALL), ("caller",), "L16LE", 8000), audio, audio, audio, Digit()]


@pytest.mark.parametrize(
    "talk",
    [
        audiosocket(0x10, bytes(320)),
        audiosocket(0x01, bytes(15)),
        audiosocket(0x01, CALL.bytes) * 2,
        audiosocket(0x01, CALL.bytes) + audiosocket(0x10, bytes(160)),
        audiosocket(0x01, CALL.bytes) + audiosocket(0x12, bytes(640)) + audiosocket(0x10, bytes(320)),
        audiosocket(0x7F, b""),
    ],
)
def test_audiosocket_that_is_none(talk: bytes) -> None:
    with pytest.raises(Malformed):
        list(AudioSocket(Handshake("")).stream(talk))


def test_a_path_names_a_protocol() -> None:
    assert protocol_of("/twilio") is Twilio
    assert protocol_of("/twilio/team/7") is Twilio
    for path in ("/", "", "twilio", "/TWILIO", "/../twilio", "/twilio2", "//twilio", "*"):
        assert protocol_of(path) is None


BEGINNINGS: dict[type[Serializer], str | bytes] = {
    Twilio: twilio_start(),
    Telnyx: telnyx_start(),
    Plivo: plivo_start(),
    Exotel: exotel_start(),
    Vonage: vonage_connected(),
    Jambonz: jambonz_start(),
    FreeSwitch: "{}",
    Asterisk: asterisk_start(),
    AudioHook: audiohook_open(),
}
"""A first message of each."""


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_only_one_start_counts(kind: type[Serializer]) -> None:
    serializer = opened(kind)
    fed(serializer, BEGINNINGS[kind])
    before = serializer.started
    with contextlib.suppress(Malformed):
        fed(serializer, BEGINNINGS[kind])
    assert serializer.started is before is not None


def test_every_protocol_stands_here() -> None:
    assert set(BEGINNINGS) == set(WEBSOCKET.values())


KEYS = st.sampled_from(
    [
        "event",
        "start",
        "media",
        "stop",
        "dtmf",
        "type",
        "seq",
        "id",
        "parameters",
        "payload",
        "track",
        "timestamp",
        "mediaFormat",
        "media_format",
        "encoding",
        "sampleRate",
        "sample_rate",
        "tracks",
        "callSid",
        "streamSid",
        "content-type",
        "mixType",
        "channels",
        "customParameters",
        "extra_headers",
        "format",
        "discarded",
        "__proto__",
    ]
)
WORDS = st.sampled_from(
    [
        "start",
        "media",
        "stop",
        "dtmf",
        "open",
        "close",
        "ping",
        "discarded",
        "websocket:connected",
        "MEDIA_START",
        "inbound",
        "outbound",
        "audio/x-mulaw",
        "audio/l16;rate=16000",
        "L16",
        "8000",
        "1e3",
        "-1",
        "AA==AA",
        "PT-1S",
    ]
)
SCALARS = WORDS | st.text() | st.integers() | st.floats() | st.booleans() | st.none()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=6)
)
MESSAGES = st.builds(lambda v: json.dumps(v).encode(), JSON | st.dictionaries(KEYS, JSON)) | st.binary()
DEEP = b"[" * 100_000
HOSTILE = [
    DEEP,
    b'{"event":' * 20_000,
    b'{"event": "media", "media": {"payload": "' + b"A" * 60_000 + b'"}}',
    b'{"event": "start", "start": {"mediaFormat": {"sampleRate": 1e999}}}',
    b'{"event": "start", "start": {"mediaFormat": {"sampleRate": ' + b"9" * 5000 + b"}}}",
    b'{"event": "start", "start": {"callSid": "\\ud800<script>\\u001b[31m"}}',
    b'{"event": "media", "media": []}',
    b'{"event": "media", "media": {"track": "inbound", "payload": "AA==AA"}}',
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
]


@pytest.mark.parametrize("kind", BEGINNINGS)
@pytest.mark.parametrize("begun", [False, True])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=st.lists(MESSAGES, max_size=4), binary=st.binary())
@example(messages=HOSTILE, binary=b"\x00")
def test_nothing_from_outside_breaks_a_serializer(
    kind: type[Serializer], begun: bool, messages: list[bytes], binary: bytes
) -> None:
    serializer = opened(kind)
    if begun:
        fed(serializer, BEGINNINGS[kind])
    for take, data in [*((serializer.text, m) for m in messages), (serializer.binary, binary)]:
        events: Sequence[Event] = ()
        with contextlib.suppress(Malformed):
            events = take(data)
        for event in events:
            assert isinstance(event, Event)
            if isinstance(event, Start):
                assert 0 < len(event.tracks) <= 2
                assert 8000 <= event.rate <= 192_000
                assert len(event.labels) <= 32
                assert all(
                    text == printable(text) for text in (event.call, *event.labels, *event.labels.values())
                )
            if isinstance(event, Audio):
                assert serializer.started is not None
                assert 0 <= event.track < len(serializer.started.tracks)


@given(st.lists(st.binary(), max_size=8))
@example([audiosocket(0x01, CALL.bytes) + b"\x10\xff\xff" + bytes(65_535)])
def test_nothing_from_outside_breaks_audiosocket(chunks: list[bytes]) -> None:
    serializer = AudioSocket(Handshake(""))
    with contextlib.suppress(Malformed):
        for chunk in chunks:
            for event in serializer.stream(chunk):
                assert isinstance(event, Event)


def test_silence_is_a_message_of_audiosocket() -> None:
    from streamcab.media.audiosocket import SILENCE

    assert audiosocket(0x10, bytes(320)) == SILENCE
