"""Genesys AudioHook: JSON that must be answered, and G.711 of one or two channels without a header.

https://developer.genesys.cloud/devapps/audiohook
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streamcab.media.events import Audio, Digit, Event, Gap, Malformed, Reply, Start, Stop
from streamcab.media.fields import json_object, labels_of, object_at, rate_of, text_at, whole
from streamcab.media.serializer import Handshake, Serializer

PROBE = "00000000-0000-0000-0000-000000000000"
"""The id of a conversation or a participant in a test of the connection: no call."""
SIDES = {"external": "caller", "internal": "agent"}
MOST_S = 86_400.0
_DURATION = re.compile(r"PT(?:(\d{1,5})H)?(?:(\d{1,5})M)?(?:(\d{1,6}(?:\.\d{1,9})?)S)?")


def duration_s(value: object) -> float:
    """Read an ISO 8601 duration of hours, minutes and seconds; raise Malformed for another one, and for more than a
    day."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None or not any(found.groups()):
        raise Malformed("no duration")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total > MOST_S:
        raise Malformed("a duration of more than a day")
    return total


class AudioHook(Serializer):
    """One session. The external party and the agent are two streams if both are offered."""

    name = "audiohook"
    strict = True
    largest = 65_535

    def __init__(self, shake: Handshake) -> None:
        super().__init__(shake)
        self._id = ""
        self._theirs = self._ours = 0

    def text(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        message = json_object(data)
        kind, seq = message.get("type"), whole(message.get("seq"))
        if seq != self._theirs + 1 or not isinstance(kind, str):
            raise Malformed("a message out of sequence, or without a type")
        self._theirs += 1
        parameters = object_at(message, "parameters")
        if kind == "open":
            return self._open(text_at(message, "id"), parameters)
        if not self._id:
            raise Malformed("a message before open")
        if kind == "ping":
            return (self._reply("pong"),)
        if kind == "discarded":
            return (Gap(duration_s(parameters.get("discarded"))),)
        if kind == "resumed" and "discarded" in parameters:
            return (Gap(duration_s(parameters["discarded"])),)
        if kind == "dtmf":
            return (Digit(),)
        if kind == "close":
            return (self._reply("closed"), Stop(text_at(parameters, "reason") or "end"))
        return ()

    def binary(self, data: bytes) -> Sequence[Event]:
        """See Serializer."""
        if self.started is None:
            raise Malformed("audio before open")
        return (Audio(0, data),)

    def _open(self, session: str, parameters: Mapping[str, Any]) -> Sequence[Event]:
        if self._id or not session:
            raise Malformed("a second open, or one without an id")
        if self.shake.headers.get("audiohook-session-id", session) != session:
            raise Malformed("the session of another request")
        organization = self.shake.headers.get("audiohook-organization-id")
        if organization and parameters.get("organizationId") != organization:
            raise Malformed("an organization other than that of the request")
        self._id = session
        call, party = text_at(parameters, "conversationId"), object_at(parameters, "participant")
        if PROBE in (call, party.get("id")):
            return (self._reply("opened", {"media": [], "startPaused": False}),)
        media = _chosen(parameters.get("media"))
        tracks = tuple(SIDES[channel] for channel in media["channels"])
        numbers = {
            name: found for name, key in (("from", "ani"), ("to", "dnis")) if (found := text_at(party, key))
        }
        start = Start(
            call=call or session,
            tracks=tracks,
            codec="PCMU",
            rate=rate_of(media.get("rate")),
            interleaved=len(tracks) > 1,
            labels=labels_of({"language": parameters.get("language")}, {"participant": text_at(party, "id")}),
            numbers=numbers,
        )
        return (self._reply("opened", {"media": [media], "startPaused": False}), self.begin(start))

    def _reply(self, kind: str, parameters: Mapping[str, Any] | None = None) -> Reply:
        self._ours += 1
        message = {
            "version": "2",
            "id": self._id,
            "type": kind,
            "seq": self._ours,
            "clientseq": self._theirs,
            "parameters": parameters or {},
        }
        return Reply(msgspec.json.encode(message).decode())


def _chosen(offers: object) -> dict[str, Any]:
    """Choose the offer with most channels that is mu-law at 8 kHz; raise Malformed if there is none."""
    fitting = [
        offer
        for offer in (offers if isinstance(offers, list) else [])
        if isinstance(offer, dict)
        and offer.get("format") == "PCMU"
        and whole(offer.get("rate")) == 8000
        and offer.get("channels") in (["external"], ["internal"], ["external", "internal"])
    ]
    if not fitting:
        raise Malformed("no offer of mu-law at 8 kHz")
    return max(fitting, key=lambda offer: len(offer["channels"]))
