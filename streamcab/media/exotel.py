"""Exotel's AgentStream. Its documents spell names in two ways, so both are read.

https://developer.exotel.com/docs/agentstream/websocket-protocol
"""

from collections.abc import Mapping
from typing import Any

from streamcab.media.events import Start
from streamcab.media.fields import labels_of, numbers_of, object_at, rate_of, text_at
from streamcab.media.json_stream import JsonStream, Message, codec_of, media_format


class Exotel(JsonStream):
    """16-bit samples in base64, one stream per call."""

    name = "exotel"

    def _read(self, start: Mapping[str, Any], message: Message) -> Start:
        form = media_format(start)
        return Start(
            call=text_at(start, "call_sid", "callSid") or message.stream or self.unnamed(),
            tracks=("caller",),
            codec=codec_of(text_at(form, "encoding") or "audio/x-raw", "L16LE"),
            rate=rate_of(form.get("sample_rate") or form.get("sampleRate") or self._asked()),
            labels=labels_of(object_at(start, "custom_parameters", "customParameters")),
            numbers=numbers_of(start),
        )

    def _asked(self) -> Any:
        """Return the rate that the address asks for."""
        return self.shake.params.get("sample-rate", 8000)
