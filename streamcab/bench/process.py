"""The processes of a measurement, and their CPU time and memory from /proc. They are ended by process id.

Knows nothing of calls.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LEAVE_S = 10.0


@contextmanager
def child(*words: str, log: Path, talk: bool = False) -> Iterator[subprocess.Popen[str]]:
    """`python -m WORDS...` as a process, its errors in `log`; asked to end, then made to, with the context.

    `talk`: its input and output are pipes; else it reads nothing and what it prints is dropped.
    """
    pipe = subprocess.PIPE if talk else subprocess.DEVNULL
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], stdin=pipe, stdout=pipe, stderr=errors, text=True, bufsize=1
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LEAVE_S)
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def free_port(kind: socket.SocketKind) -> int:
    """Return a free port of the loopback interface."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def family(pid: int) -> list[int]:
    """Return a process and all that it has started, and they, that still run."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (thread / "children").read_text(encoding="utf-8").split())
    return found


def cpu_s(*pids: int) -> float:
    """Return the seconds of CPU that processes have had, all threads; NaN when the first is gone."""
    used = float("nan")
    for one in pids:
        try:
            fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        mine = (int(fields[11]) + int(fields[12])) / TICKS
        used = mine if one == pids[0] else used + mine
    return used


def resident(pid: int) -> int:
    """Return the bytes of memory that a process and its children have; 0 when it is gone."""
    total = 0
    for one in family(pid):
        with suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text(encoding="utf-8").split()[1]) * PAGE
    return total


def last_line(log: Path) -> str:
    """Return the last line of a process's output, for an error message."""
    lines: Sequence[str] = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
