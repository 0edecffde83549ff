"""Microphones as PortAudio has them: listed, found by number or name, opened and closed.

Owns everything that is asked of PortAudio but for the samples. The library is loaded on first use, so that a
machine without sound can do all the rest. Knows nothing of streams or rings.
"""

import logging
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamcab.errors import SourceError

log = logging.getLogger("streamcab.source")

RATES = (48000, 44100)
"""Tried after the device's own; ours to resample, since a device's driver often refuses the rest."""
BLOCKS_PER_SECOND = 100
BUFFER_S = 0.1
"""What the device holds for us while we are late; it delivers in quarters of this."""
MOST_CHANNELS = 8
"""Beyond this a device is software, and the number an upper bound: sound servers say 32 whatever there is."""

lock = threading.RLock()
"""PortAudio opens, closes and lists on one thread at a time; its list is renewed only with nothing open."""
_open_streams = 0


@dataclass(frozen=True)
class Device:
    """A device that records. `channels` is the most that it offers, `rate` its own in Hz."""

    index: int
    name: str
    channels: int
    rate: int
    default: bool
    host_api: str


def portaudio() -> Any:
    """Return the module sounddevice, loaded now; raise SourceError when the library behind it is missing."""
    try:
        import sounddevice
    except OSError:
        raise SourceError(
            "the PortAudio library is missing, which microphones need: apt install libportaudio2"
        ) from None
    return sounddevice


def list_devices() -> list[Device]:
    """Return the devices that record, as they are now; none is an empty list. Raises SourceError without PortAudio."""
    with lock:
        fresh = "sounddevice" not in sys.modules
        sd = portaudio()
        try:
            if not fresh and not _open_streams:
                sd._terminate()
                sd._initialize()
            hosts = sd.query_hostapis()
            first = sd.default.device[0]
            if first < 0:
                first = hosts[0]["default_input_device"] if hosts else -1
            return [
                Device(
                    index=d["index"],
                    name=d["name"],
                    channels=d["max_input_channels"],
                    rate=round(d["default_samplerate"]),
                    default=d["index"] == first,
                    host_api=hosts[d["hostapi"]]["name"],
                )
                for d in sd.query_devices()
                if d["max_input_channels"] > 0
            ]
        except sd.PortAudioError as error:
            raise SourceError(f"PortAudio cannot list the devices: {line_of(error)}") from None


def find_device(wanted: int | str, devices: Sequence[Device]) -> Device:
    """Return the device of this index, or the one whose name holds this text (a name that equals it comes first).

    SourceError, with the candidates, when it is none or several.
    """
    if isinstance(wanted, str) and wanted.isascii() and wanted.isdigit():
        wanted = int(wanted)
    if isinstance(wanted, int):
        found = [d for d in devices if d.index == wanted]
    else:
        text = wanted.casefold()
        found = [d for d in devices if d.name.casefold() == text]
        found = found or [d for d in devices if text in f"{d.name}, {d.host_api}".casefold()]
    if len(found) == 1:
        return found[0]
    if not devices:
        raise SourceError(
            f"no microphone {wanted!r}: no device that records was found; see `streamcab devices`"
        )
    listed = ", ".join(f"{d.index} {d.name!r}" for d in found or devices)
    if found:
        what = f"{wanted!r} names {len(found)} microphones: {listed}"
    else:
        what = f"no microphone {wanted!r}; there are: {listed}"
    raise SourceError(f"{what}; see `streamcab devices`", secrets=[d.name for d in devices])


def find_again(lost: Device, devices: Sequence[Device]) -> Device:
    """Return the device of the same name, wherever it is in the list now. SourceError if there is none."""
    same = [d for d in devices if (d.name, d.host_api) == (lost.name, lost.host_api)]
    # ALSA ends a name with the number of the card, which may be another after a reconnection.
    same = same or [d for d in devices if _without_card(d.name) == _without_card(lost.name)]
    if not same:
        raise SourceError(f"the microphone {lost.name!r} is gone; it is reopened when it returns")
    return same[0]


def _without_card(name: str) -> str:
    return re.sub(r"\s*\((plug)?hw:\d+,\d+\)$", "", name)


def line_of(error: Exception) -> str:
    """Return PortAudio's error in one line, without its note that the host said nothing."""
    return re.sub(r": '' \[[^]]*\]$", "", " ".join(str(error).split()))


def open_device(device: Device, number: int | None, rate: int = 0) -> tuple[Any, int]:
    """Open and start a device for channel `number`, or for the mix of all: the stream, and its rate in Hz.

    At `rate` unless that is 0, else at the device's own, or what comes nearest. SourceError.
    """
    global _open_streams
    sd = portaudio()
    few = min(device.channels, max(number or 0, 2))
    whole = number is None and device.channels <= MOST_CHANNELS
    counts = [device.channels, few] if whole else [few, device.channels]
    rates = [rate] if rate else list(dict.fromkeys((device.rate, *RATES)))
    refused = ""
    with lock:
        for hz in rates:
            for count in dict.fromkeys(counts):
                settings = {"device": device.index, "channels": count, "dtype": "float32", "samplerate": hz}
                try:
                    sd.check_input_settings(**settings)
                    stream = sd.InputStream(blocksize=hz // BLOCKS_PER_SECOND, latency=BUFFER_S, **settings)
                except (sd.PortAudioError, ValueError) as error:
                    refused = refused or line_of(error)
                    continue
                try:
                    stream.start()
                except sd.PortAudioError as error:
                    stream.close()
                    refused = refused or line_of(error)
                    continue
                _open_streams += 1
                return stream, hz
    raise SourceError(
        f"the microphone {device.name!r} cannot be opened at {', '.join(map(str, rates))} Hz ({refused}); "
        "is another program using it? See `streamcab devices`",
        secrets=[device.name],
    )


def shut_device(stream: Any) -> None:
    """Close without waiting for the device: stop() would, for ever if it is gone."""
    global _open_streams
    sd = portaudio()
    with lock:
        _open_streams -= 1
        try:
            stream.abort()
            stream.close()
        except sd.PortAudioError as error:
            log.debug("a device closed with %s", line_of(error))
