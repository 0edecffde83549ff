"""Processes that these tests have started, found by their command lines: another suite on this machine has its own."""

import os
from collections.abc import Iterator
from pathlib import Path


def ours(*words: bytes) -> list[int]:
    """Return the processes below this one whose command lines contain all of `words`."""
    return [pid for pid in _numbers() if os.getpid() in _above(pid) and _says(pid, words)]


def _numbers() -> Iterator[int]:
    return (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))


def _says(pid: int, words: tuple[bytes, ...]) -> bool:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return all(word in said for word in words)


def _above(pid: int) -> Iterator[int]:
    """The parent of a process, the parent of that one, and so on."""
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            return
        yield pid
