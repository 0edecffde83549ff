"""The streams for which each worker has room, in memory that all of them share: a daemon is ready while one has any.

Knows nothing of who asks, or why.
"""

import mmap
import os

NUMBER = 8
"""Bytes of a number: written at once, so that no reader sees half of one."""


def reserve(workers: int) -> int:
    """Return the descriptor of memory for so many workers, which must inherit it."""
    fd = os.memfd_create("streamcab-room", os.MFD_CLOEXEC)
    os.ftruncate(fd, NUMBER * workers)
    return fd


class Room:
    """The memory behind a descriptor."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 0)

    def say(self, worker: int, free: int) -> None:
        """Note how many streams a worker has room for; workers are counted from 1."""
        self._map[NUMBER * (worker - 1) : NUMBER * worker] = max(free, 0).to_bytes(NUMBER, "little")

    def any(self) -> bool:
        """Return whether any worker has room."""
        return any(self._map[:])

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()
