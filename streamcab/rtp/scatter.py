"""Writes payload bytes as samples into rings: one gather, one look-up and one write for all payloads of a size.

Knows codecs and rings; nothing of headers, calls or loss.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcab.audio.ring import windows
from streamcab.rtp import codec
from streamcab.rtp.bank import ScatterBank
from streamcab.rtp.codec import Encoding

MANY_SIZES = 6
"""With more payload sizes than this in a batch, payloads are placed by powers of two instead of size by size."""

Column = NDArray[np.int64]


def place(
    bank: ScatterBank,
    encoding: Encoding,
    channel: int | None,
    data: NDArray[np.uint8],
    start: Column,
    row: Column,
    position: Column,
    samples: Column,
) -> None:
    """Decode m payloads of one stateless encoding, and write them.

    data      (n, stride) uint8, the batch
    start     (m,) where each payload begins in `data`, counted in bytes from its first row
    row       (m,) of the bank
    position  (m,) of each first sample
    samples   (m,) per channel
    """
    bank.prepare(row, position + samples)
    # Samples that this batch has pushed out of the ring must not be written into its future.
    stays = position >= bank.claimed[row] - bank.capacity
    if not stays.all():
        start, row, position, samples = start[stays], row[stays], position[stays], samples[stays]
        if not len(start):
            return
    if (samples == samples[0]).all():
        _write(bank, encoding, channel, data, start, row, position, int(samples[0]))
        return
    sizes = np.flatnonzero(np.bincount(samples)).tolist()
    if len(sizes) <= MANY_SIZES:
        for n in sizes:
            k = samples == n
            _write(bank, encoding, channel, data, start[k], row[k], position[k], n)
        return
    # ffmpeg splits its frames into a hundred sizes: eleven powers of two cover all of them.
    n = 1 << int(samples.max()).bit_length() - 1
    while n:
        k = np.flatnonzero(samples & n)
        if len(k):
            done = samples[k] & ~(2 * n - 1)
            bytes_done = done * encoding.frame
            _write(bank, encoding, channel, data, start[k] + bytes_done, row[k], position[k] + done, n)
        n >>= 1


def _write(
    bank: ScatterBank,
    encoding: Encoding,
    channel: int | None,
    data: NDArray[np.uint8],
    start: Column,
    row: Column,
    position: Column,
    n: int,
) -> None:
    samples: NDArray[Any]
    if encoding.compact:
        # Codes are looked up in pairs: one extra byte may be read, and is dropped.
        samples = codec.decode_g711(encoding.name, windows(data, n + n % 2)[start])[:, :n]
    else:
        samples = codec.decode(encoding, windows(data, n * encoding.frame)[start], channel)
    bank.place(row, position, samples)
