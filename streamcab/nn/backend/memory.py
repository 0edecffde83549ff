"""The process's policy for memory that it frees. Knows nothing of nets."""

import ctypes

MANY = 16
"""Slots from which on the process is a server, and keeps the memory that it frees."""


def keep_freed_memory() -> None:
    """Tell glibc not to hand freed memory to the kernel after a step, and fetch it page by page at the next.

    A step frees some megabytes, just above what glibc trims at; the page faults were two fifths of its
    time. Holds for the whole process, which may keep up to 256 MB that it has freed; without glibc it
    does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, 256 << 20)
