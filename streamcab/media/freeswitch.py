"""FreeSWITCH: mod_audio_stream, mod_audio_fork, and jambonz, which drives the latter. 16-bit samples, nothing else.

The first text describes the call; with mod_audio_stream there is often none, so the address can say the same:
`/freeswitch?call=ID&rate=16000&channels=2`. https://docs.jambonz.org/verbs/verbs/listen
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from streamcab.media.events import Audio, Digit, Event, Malformed, Start
from streamcab.media.fields import json_object, labels_of, numbers_of, object_at, rate_of, text_at
from streamcab.media.serializer import Serializer

CALL = ("callSid", "call_sid", "callId", "call_id", "uuid", "call")
_OWN = frozenset({*CALL, "sampleRate", "rate", "mixType", "channels", "from", "to", "token"})


class FreeSwitch(Serializer):
    """mod_audio_stream and mod_audio_fork alone: any text, or none."""

    name = "freeswitch"
    subprotocols = frozenset({"audio.drachtio.org", "audio.jambonz.org"})
    # After a stall, mod_audio_fork sends all that it has kept as one message.
    largest = 2 * 1024 * 1024
    stops = False
    assumed_rate: ClassVar[int] = 8000
    """What mod_audio_stream sends unless it is told otherwise."""

    def text(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        try:
            found = json_object(data)
        except Malformed:
            if self.started is not None:
                return ()
            found = {}  # metadata may be any text
        if self.started is None:
            return (self._start(found),)
        return (Digit(),) if found.get("event") == "dtmf" else ()

    def binary(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        if not data:  # what a graceful shutdown sends
            return ()
        if self.started is None:
            return (self._start({}), Audio(0, data))
        return (Audio(0, data),)

    def _start(self, found: Mapping[str, Any]) -> Start:
        told = {**self.shake.params, **found}
        two = told.get("mixType") == "stereo" or str(told.get("channels", "1")) == "2"
        own = {k: v for k, v in told.items() if k not in _OWN}
        return self.begin(
            Start(
                call=text_at(told, *CALL) or self._header() or self.unnamed(),
                tracks=("caller", "callee") if two else ("caller",),
                codec="L16LE",
                rate=rate_of(told.get("sampleRate") or told.get("rate") or self.assumed_rate),
                interleaved=two,
                labels=labels_of(own, object_at(told, "customerData")),
                numbers=numbers_of(told),
            )
        )

    def _header(self) -> str:
        """Return the call's id from the headers that mod_audio_stream can be told to send."""
        return text_at(self.shake.headers, "x-call-id", "x-call-uuid")


class Jambonz(FreeSwitch):
    """jambonz: the first text is always there, and says the rate."""

    name = "jambonz"

    def text(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        if self.started is None and "sampleRate" not in json_object(data):
            raise Malformed("a first message without sampleRate")
        return super().text(data)

    def binary(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        if self.started is None:
            raise Malformed("audio before its description")
        return super().binary(data)
