"""One datagram for each channel of a packet, so that each channel becomes a call of its own.

The number of the channel is a part of the key of a call: it lies above the index of the socket, 0 for packets of one
channel. Knows formats; nothing of rings, numbers or timestamps.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamcab.rtp.batch import Batch
from streamcab.rtp.packet import Fate, Headers
from streamcab.rtp.payload import PayloadTypes

SHIFT = 16
"""Bits for the index of a socket."""
SOCKET = (1 << SHIFT) - 1

Column = NDArray[np.int64]


def apart(
    batch: Batch, headers: Headers, types: PayloadTypes, known: Callable[[Column, Column], NDArray[np.bool_]]
) -> Batch:
    """Return a batch with a row for each channel of its packets; the first channels stay where the packets were.

    known  (rows, their `port` with a channel) -> whether there are such calls: packets of one channel, and those
           without audio, belong to every channel of a call that has several
    """
    kind, fate = headers.kind, headers.fate
    sound = (fate == Fate.ACCEPTED) & (types.fate[kind] <= Fate.EVENT)
    channels = np.where(sound, types.channels(headers, batch.data), 0)
    for channel in range(2, types.most_channels + 1):
        fewer = np.flatnonzero(sound & (channels < channel))
        if len(fewer):
            there = known(fewer, batch.port[fewer] | channel << SHIFT)
            channels[fewer[there]] = channel
    most = int(channels.max(initial=0))
    if most < 2:
        return batch
    rows, ports = [np.arange(len(channels))], [batch.port | (channels > 1).astype(np.int64) << SHIFT]
    for channel in range(2, most + 1):
        some = np.flatnonzero(channels >= channel)
        rows.append(some)
        ports.append(batch.port[some] | channel << SHIFT)
    every = np.concatenate(rows)
    return Batch(
        data=batch.data[every],
        length=batch.length[every],
        truncated=batch.truncated[every],
        name=batch.name[every],
        port=np.concatenate(ports),
        wide=batch.wide,
    )
