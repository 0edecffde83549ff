"""The shape that Twilio gave to call audio and that others took over: JSON messages with audio in base64.

`start`, `media`, `dtmf`, `mark` and `stop` are objects of these names. The subclasses say what they hold.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from streamcab.media.events import Audio, Digit, Event, Malformed, Start, Stop
from streamcab.media.fields import object_at, text_at, whole
from streamcab.media.serializer import Handshake, Serializer

Number = int | float | str | None


class Media(msgspec.Struct):
    """Some audio."""

    payload: bytes
    track: str = ""
    timestamp: Number = None


class Message(msgspec.Struct):
    """Any message of this shape; the stream's id is spelled in four ways."""

    event: str
    start: dict[str, Any] | None = None
    media: Media | None = None
    stop: Any = None
    extra_headers: Any = None
    streamSid: str | None = None
    stream_sid: str | None = None
    streamId: str | None = None
    stream_id: str | None = None

    @property
    def stream(self) -> str:
        """The stream that it is of; empty if it does not say."""
        return self.streamSid or self.stream_id or self.streamId or self.stream_sid or ""


_decode = msgspec.json.Decoder(Message).decode

DIGIT = (Digit(),)
_TRACKS = {"inbound_track": "inbound", "outbound_track": "outbound"}
_G711 = {"mulaw": "PCMU", "pcmu": "PCMU", "ulaw": "PCMU", "alaw": "PCMA", "pcma": "PCMA"}


class JsonStream(Serializer, ABC):
    """One connection. Subclasses read `start`."""

    only: ClassVar[str] = ""
    """The track of a protocol that names none."""

    def __init__(self, shake: Handshake) -> None:
        super().__init__(shake)
        self._stream = ""
        self._tracks: dict[str, int] = {}

    @abstractmethod
    def _read(self, start: Mapping[str, Any], message: Message) -> Start:
        """Return what the `start` message announces."""

    def text(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        try:
            message = _decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Malformed("no message of this protocol") from None
        media = message.media
        if message.event == "media" and media is not None:
            track = self._tracks.get(media.track)
            if track is None:
                raise Malformed("audio of a track that was not announced")
            if message.stream != self._stream and message.stream:
                raise Malformed("audio of another stream")
            return (Audio(track, media.payload, whole(media.timestamp)),)
        if message.event == "start" and message.start is not None:
            return (self._begin(message.start, message),)
        if message.event == "dtmf":
            return DIGIT
        if message.event == "stop":
            why = message.stop.get("reason") if isinstance(message.stop, dict) else None
            return (Stop(text_at({"why": why}, "why") or "hung up"),)
        if message.event in ("media", "start"):
            raise Malformed(f"a {message.event} message without its object")
        return ()

    def _begin(self, start: Mapping[str, Any], message: Message) -> Start:
        found = self.begin(self._read(start, message))
        inside = text_at(start, "streamSid", "stream_sid", "streamId", "stream_id")
        self._stream = message.stream or inside
        self._tracks = {name: k for k, name in enumerate(found.tracks)}
        self._tracks |= {long: self._tracks[name] for long, name in _TRACKS.items() if name in self._tracks}
        if len(found.tracks) == 1:  # a message may leave out what there is only one of
            self._tracks[""] = 0
        return found


def tracks_of(start: Mapping[str, Any], otherwise: str = "inbound") -> tuple[str, ...]:
    """Return the announced directions, each once, in their order; a platform can only name two."""
    listed = start.get("tracks")
    names = [_TRACKS.get(t, t) for t in listed if isinstance(t, str)] if isinstance(listed, list) else []
    known = dict.fromkeys(name for name in names if name in ("inbound", "outbound"))
    return tuple(known) or (otherwise,)


def codec_of(encoding: str, linear: str) -> str:
    """Return the codec that is meant by a name such as `audio/x-mulaw`; `linear` is what 16-bit samples are here."""
    name = encoding.lower().partition(";")[0].removeprefix("audio/").removeprefix("x-")
    if name in _G711:
        return _G711[name]
    if name in ("l16", "raw", "linear16", "slin"):
        return linear
    raise Malformed("a codec that streamcab does not take over a WebSocket")


def media_format(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that describes the audio."""
    return object_at(start, "mediaFormat", "media_format")
