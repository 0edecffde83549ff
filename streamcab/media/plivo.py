"""Plivo's audio streams. No message says that a call is over: the connection closes.

https://www.plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference
"""

import re
from collections.abc import Mapping
from typing import Any

from streamcab.media.events import Malformed, Start
from streamcab.media.fields import json_object, labels_of, rate_of, text_at
from streamcab.media.json_stream import JsonStream, Message, codec_of, media_format, tracks_of

LONGEST = 1024
"""Characters of the extra headers that are read."""


class Plivo(JsonStream):
    """16-bit samples or mu-law in base64."""

    name = "plivo"
    stops = False

    def _read(self, start: Mapping[str, Any], message: Message) -> Start:
        form = media_format(start)
        encoding = text_at(form, "encoding") or "audio/x-l16"
        rate = form.get("sampleRate") or encoding.rpartition("rate=")[2]
        return Start(
            call=text_at(start, "callId") or message.stream or self.unnamed(),
            tracks=tracks_of(start),
            codec=codec_of(encoding, "L16"),
            rate=rate_of(rate or 8000),
            labels=labels_of(extra_headers(message.extra_headers)),
        )


def extra_headers(value: object) -> dict[str, Any]:
    """Read the customer's own names and values: an object, its JSON, or `a=1;b=2` with commas or semicolons."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        return {}
    text = value[:LONGEST].strip()
    if text.startswith("{"):
        try:
            return json_object(text)
        except Malformed:
            return {}
    pairs = (part.partition("=") for part in re.split("[;,]", text))
    return {key.strip(): rest.strip() for key, equals, rest in pairs if equals and key.strip()}
