"""Screening: the datagrams of a batch that hold audio which can be decoded here, and how many samples it has.

Judges a datagram by its sender, socket, payload type and size. Knows nothing of the calls that datagrams belong to.
"""

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.allow import AllowList
from streamcab.rtp.batch import Batch
from streamcab.rtp.channels import SOCKET
from streamcab.rtp.packet import Fate, Headers
from streamcab.rtp.payload import PayloadTypes

Caller = tuple[int, int, int]
"""Hash of the address, SSRC and payload type."""


def caller(name: bytes, ssrc: int, kind: int) -> Caller:
    """Return the key of a sender and its payload type; `name` is its sockaddr."""
    return hash(name), ssrc, kind


class Screening:
    """Sets the fates of datagrams.

    allow      networks that may send; None for all; may be replaced from any thread
    rtcp_from  sockets with this number and above carry RTCP only
    misfits    callers whose packets do not fit the customary format of their unregistered type
    each       `port` of a batch has a channel above the index of the socket
    """

    def __init__(
        self, types: PayloadTypes, allow: AllowList | None, rtcp_from: int, misfits: Set[Caller], each: bool
    ) -> None:
        self.allow = allow
        self._types, self._rtcp_from, self._misfits, self._each = types, rtcp_from, misfits, each

    def judge(self, batch: Batch, headers: Headers) -> NDArray[np.int64]:
        """Set the fates of n datagrams, and return the samples (n,) in each that is ACCEPTED."""
        fate, types = headers.fate, self._types
        socket = batch.port & SOCKET if self._each else batch.port
        if socket.max() >= self._rtcp_from:
            fate[(socket >= self._rtcp_from) & (fate < Fate.MALFORMED)] = Fate.MALFORMED
        if self.allow is not None:
            fate[~self.allow.match(batch.name)] = Fate.NOT_ALLOWED
        if fate.any():
            audio = fate == Fate.ACCEPTED
            fate[audio] = types.fate[headers.kind[audio]]
        else:
            fate[:] = types.fate[headers.kind]
        samples = types.samples(headers, batch.data)
        self._guess(batch, headers, samples)
        if samples.min() <= 0:
            fate[(fate == Fate.ACCEPTED) & (samples <= 0)] = Fate.MALFORMED
        return samples

    def _guess(self, batch: Batch, headers: Headers, samples: NDArray[np.int64]) -> None:
        """Accept packets with a customary, unregistered type (118) only while their sizes fit it."""
        guessed = self._types.guessed[headers.kind]
        if not guessed.any():
            return
        for row in np.flatnonzero(guessed & (headers.fate == Fate.ACCEPTED)).tolist():
            odd = headers.size[row] % self._types.guess_bytes
            if odd or (self._misfits and self._caller(batch, headers, row) in self._misfits):
                headers.fate[row] = Fate.UNKNOWN_TYPE
                samples[row] = 0

    @staticmethod
    def _caller(batch: Batch, headers: Headers, row: int) -> Caller:
        return caller(batch.name[row].tobytes(), int(headers.ssrc[row]), int(headers.kind[row]))
