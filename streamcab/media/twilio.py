"""Twilio Media Streams, and SignalWire's streams in the same form. Knows nothing of signatures.

https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from collections.abc import Mapping
from typing import Any

from streamcab.media.events import Start
from streamcab.media.fields import labels_of, object_at, rate_of, text_at
from streamcab.media.json_stream import JsonStream, Message, codec_of, media_format, tracks_of


class Twilio(JsonStream):
    """Mu-law in base64, a stream for each direction. Numbers are sent only as parameters of the TwiML."""

    name = "twilio"

    def _read(self, start: Mapping[str, Any], message: Message) -> Start:
        form = media_format(start)
        return Start(
            call=text_at(start, "callSid") or message.stream or self.unnamed(),
            tracks=tracks_of(start),
            codec=codec_of(text_at(form, "encoding") or "audio/x-mulaw", "L16"),
            rate=rate_of(form.get("sampleRate", 8000)),
            labels=labels_of(object_at(start, "customParameters")),
        )
