"""Telnyx media streaming. The codec is that of the call's far end, and the order of messages is not promised.

https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket
"""

from collections.abc import Mapping
from typing import Any

from streamcab.media.events import Start
from streamcab.media.fields import labels_of, numbers_of, object_at, rate_of, text_at
from streamcab.media.json_stream import JsonStream, Message, codec_of, media_format


class Telnyx(JsonStream):
    """Both directions are expected, since `start` does not tell which will come."""

    name = "telnyx"
    lookback_s = 0.1

    def _read(self, start: Mapping[str, Any], message: Message) -> Start:
        form = media_format(start)
        return Start(
            call=text_at(start, "call_control_id", "call_session_id") or message.stream or self.unnamed(),
            tracks=("inbound", "outbound"),
            codec=codec_of(text_at(form, "encoding") or "PCMU", "L16"),
            rate=rate_of(form.get("sample_rate", 8000)),
            labels=labels_of(object_at(start, "custom_parameters")),
            numbers=numbers_of(start),
        )
