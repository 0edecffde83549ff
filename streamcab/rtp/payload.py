"""The configured payload types: from a number in a header to a format, a fate and a number of samples.

All properties are tables of 128 entries, looked up for a whole batch. Knows nothing of calls or rings.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp import codec
from streamcab.rtp.codec import Encoding
from streamcab.rtp.packet import Fate, Headers

SPECIAL: dict[int, Fate] = {13: Fate.COMFORT_NOISE, 19: Fate.COMFORT_NOISE, 101: Fate.EVENT}
"""Types without audio unless a map says otherwise; 19 is the old number of comfort noise, 101 is customary."""


GUESSED = {118: Encoding("L16", 16000)}
"""Customary meanings of unassigned numbers: Asterisk's slin16."""
GUESS_BYTES = 320
"""The size of its packets is a multiple of this: 10 ms."""


@dataclass(frozen=True)
class Form:
    """The common properties of samples in a ring: a call may switch between payload types of one form."""

    rate: int
    compact: bool
    decoder: str
    """G722, OPUS, or empty when no state is needed."""


class PayloadTypes:
    """`encodings` of payload types, and the known types that carry no audio.

    fate (128,) uint8   ACCEPTED for audio, else the reason for refusal
    form (128,) int64   index into `forms`, -1 where there is none
    clock (128,) int64  Hz of the timestamps, 0 if unknown
    guessed (128,) bool its meaning is customary: accepted if the sizes of its packets are multiples of `guess_bytes`
    """

    guess_bytes = GUESS_BYTES

    def __init__(
        self,
        encodings: Mapping[int, Encoding],
        special: Mapping[int, Fate],
        missing: frozenset[str] = frozenset(),
        guess: bool = False,
    ) -> None:
        """`missing` names codecs that cannot be decoded here; `guess`: accept customary types, too."""
        customs = {k: v for k, v in GUESSED.items() if guess and k not in encodings and k not in special}
        self.encodings = {**encodings, **customs}
        self.clock: NDArray[np.int64] = np.zeros(128, np.int64)
        self.guessed: NDArray[np.bool_] = np.zeros(128, np.bool_)
        self.guessed[list(customs)] = True
        self.forms: list[Form] = []
        self.fate: NDArray[np.uint8] = np.full(128, Fate.UNKNOWN_TYPE, np.uint8)
        self.form: NDArray[np.int64] = np.full(128, -1, np.int64)
        self._frame = np.ones(128, np.int64)
        self._channels = np.ones(128, np.int64)
        self._gain = np.ones(128, np.int64)
        self._opus = np.zeros(128, np.bool_)
        for number, fate in {**SPECIAL, **special}.items():
            self.fate[number] = fate
        for number, encoding in self.encodings.items():
            if encoding.name in missing:
                self.fate[number] = Fate.NO_DECODER
                continue
            form = Form(encoding.rate, encoding.compact, encoding.name if encoding.stateful else "")
            self.clock[number] = encoding.clock
            if form not in self.forms:
                self.forms.append(form)
            self.fate[number] = Fate.ACCEPTED
            self.form[number] = self.forms.index(form)
            self._frame[number] = encoding.frame
            self._gain[number] = encoding.step if encoding.stateful else 1
            self._opus[number] = encoding.name == "OPUS"
            self._channels[number] = encoding.channels

    @property
    def most_channels(self) -> int:
        """The most channels that a packet may have."""
        return max(int(self._channels.max()), 2 * int(self._opus.any()))

    def channels(self, headers: Headers, data: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the channels of each of n packets; Opus says them itself (RFC 6716 section 3.1)."""
        channels = self._channels[headers.kind]
        opus = np.flatnonzero(self._opus[headers.kind] & (headers.fate == Fate.ACCEPTED))
        if len(opus):
            channels[opus] = 1 + (data[opus, headers.start[opus]] >> 2 & 1)
        return channels

    def samples(self, headers: Headers, data: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the samples per channel in each of n payloads; 0 if the size does not fit the format."""
        frame, gain = self._frame[headers.kind], self._gain[headers.kind]
        samples = headers.size.copy()
        if (frame * gain != 1).any():
            samples = headers.size // frame * gain
            samples[headers.size % frame != 0] = 0
        opus = np.flatnonzero(self._opus[headers.kind] & (headers.fate == Fate.ACCEPTED))
        if len(opus):
            at = headers.start[opus]
            samples[opus] = codec.opus_samples(data[opus, at], data[opus, at + 1])
            samples[opus[(headers.size[opus] < 2) & (data[opus, at] & 3 == 3)]] = 0
        return samples
