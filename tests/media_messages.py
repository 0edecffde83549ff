"""Messages as the platforms' public documents describe them, with ids and numbers of our own.

Each function names the page that it follows. Numbers are from the range that is kept for fiction (555-0100).
"""

import base64
import json
from typing import Any

ULAW_SILENCE = b"\xff" * 160
"""20 ms of mu-law."""


def b64(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def twilio_start(
    call: str = "CA01", stream: str = "MZ01", tracks: tuple[str, ...] = ("inbound",), **own: str
) -> str:
    """https://www.twilio.com/docs/voice/media-streams/websocket-messages"""
    return json.dumps(
        {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": stream,
            "start": {
                "streamSid": stream,
                "accountSid": "AC01",
                "callSid": call,
                "tracks": list(tracks),
                "customParameters": own,
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            },
        }
    )


def twilio_media(payload: bytes, at_ms: int, track: str = "inbound", stream: str = "MZ01") -> str:
    media = {"track": track, "chunk": str(at_ms // 20 + 1), "timestamp": str(at_ms), "payload": b64(payload)}
    return json.dumps({"event": "media", "sequenceNumber": "2", "streamSid": stream, "media": media})


def twilio_stop(call: str = "CA01", stream: str = "MZ01") -> str:
    stop = {"accountSid": "AC01", "callSid": call}
    return json.dumps({"event": "stop", "sequenceNumber": "9", "streamSid": stream, "stop": stop})


def telnyx_start(encoding: str = "PCMA", rate: int = 8000) -> str:
    """https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket"""
    return json.dumps(
        {
            "event": "start",
            "sequence_number": "1",
            "stream_id": "st-1",
            "start": {
                "user_id": "u-1",
                "call_control_id": "v3:call-1",
                "call_session_id": "cs-1",
                "from": "+12025550100",
                "to": "+12025550101",
                "tags": [],
                "client_state": b64(b"x"),
                "custom_parameters": {"queue": "sales"},
                "media_format": {"encoding": encoding, "sample_rate": rate, "channels": 1},
            },
        }
    )


def telnyx_media(payload: bytes, chunk: int, track: str = "inbound", ms: int = 20) -> str:
    media = {"track": track, "chunk": str(chunk), "timestamp": str((chunk - 1) * ms), "payload": b64(payload)}
    return json.dumps(
        {"event": "media", "sequence_number": str(chunk + 1), "stream_id": "st-1", "media": media}
    )


def plivo_start(extra: Any = "a=1;b=2", encoding: str = "audio/x-l16", rate: Any = 16000) -> str:
    """https://www.plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference"""
    form = {"encoding": encoding, "sampleRate": rate}
    start = {
        "callId": "pl-1",
        "streamId": "ps-1",
        "accountId": "MA1",
        "tracks": ["inbound"],
        "mediaFormat": form,
    }
    return json.dumps({"event": "start", "sequenceNumber": 1, "start": start, "extra_headers": extra})


def plivo_media(payload: bytes, chunk: int, timestamp: str) -> str:
    media = {"track": "inbound", "timestamp": timestamp, "chunk": chunk, "payload": b64(payload)}
    return json.dumps({"event": "media", "sequenceNumber": chunk + 1, "streamId": "ps-1", "media": media})


def exotel_start(rate: str = "8000") -> str:
    """https://developer.exotel.com/docs/agentstream/websocket-protocol"""
    return json.dumps(
        {
            "event": "start",
            "sequence_number": "1",
            "stream_sid": "ex-s",
            "start": {
                "stream_sid": "ex-s",
                "call_sid": "ex-1",
                "account_sid": "acc",
                "from": "+12025550100",
                "to": "+12025550101",
                "custom_parameters": {"queue": "sales"},
                "media_format": {"encoding": "audio/x-raw", "sample_rate": rate, "bit_rate": "16"},
            },
        }
    )


def exotel_media(payload: bytes, chunk: int, ms: int = 100) -> str:
    media = {"chunk": str(chunk), "timestamp": str((chunk - 1) * ms), "payload": b64(payload)}
    return json.dumps({"event": "media", "sequence_number": str(chunk), "stream_sid": "ex-s", "media": media})


def vonage_connected(rate: int = 16000, **headers: str) -> str:
    """https://developer.vonage.com/voice/voice-api/concepts/websockets"""
    return json.dumps({"event": "websocket:connected", "content-type": f"audio/l16;rate={rate}", **headers})


def jambonz_start(rate: int = 16000, mix: str = "stereo") -> str:
    """https://docs.jambonz.org/verbs/verbs/listen"""
    return json.dumps(
        {
            "sampleRate": rate,
            "mixType": mix,
            "callSid": "jb-1",
            "direction": "inbound",
            "from": "12025550100",
            "to": "12025550101",
            "callId": "sip-1",
            "accountSid": "acc",
            "customerData": {"queue": "sales"},
        }
    )


def asterisk_start(form: str = "slin16", *, as_json: bool = False) -> str:
    """https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket/"""
    fields = {
        "connection_id": "as-1",
        "channel": "WebSocket/streamcab/0x1",
        "channel_id": "ch-1",
        "format": form,
        "optimal_frame_size": 640,
        "ptime": 20,
    }
    if as_json:
        return json.dumps({"event": "MEDIA_START", **fields, "channel_variables": {"QUEUE": "sales"}})
    return "MEDIA_START " + " ".join(f"{k}:{v}" for k, v in fields.items())


def audiohook(kind: str, seq: int, **parameters: Any) -> str:
    """The envelope of https://developer.genesys.cloud/devapps/audiohook"""
    message = {"version": "2", "id": "se-1", "type": kind, "seq": seq, "serverseq": 0, "position": "PT0S"}
    return json.dumps({**message, "parameters": parameters})


def audiohook_open(conversation: str = "co-1", channels: tuple[str, ...] = ("external", "internal")) -> str:
    offers = [{"type": "audio", "format": "PCMU", "channels": list(channels), "rate": 8000}]
    party = {"id": "pa-1", "ani": "+12025550100", "aniName": "", "dnis": "+12025550101"}
    return audiohook(
        "open",
        1,
        organizationId="org",
        conversationId=conversation,
        participant=party,
        media=offers,
        language="en-US",
    )


def audiosocket(kind: int, payload: bytes) -> bytes:
    """https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/"""
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload
