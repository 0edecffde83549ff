"""Checks whether this machine is fit to run the daemon. Each check stands for a problem that users have had.

Owns the checks and the remedy for each. They change nothing. Knows nothing of the command line. Other parts of
streamcab are imported inside the checks, so that a broken part becomes a finding and not a crash.
"""

import contextlib
import ctypes
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamcab.errors import StreamcabError

Grade = Literal["ok", "warn", "bad"]

RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
SOUND = Path("/dev/snd")
RECEIVE_BUFFER = 16 << 20
"""Receive buffer that the RTP source requests."""
FILES = 1_024
"""Descriptors needed: one for each subscriber of the feed, and some more."""
BORN = 1_735_689_600.0  # 2025: before streamcab was
UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)
ANSWER_S = 1.5


@dataclass(frozen=True)
class Finding:
    """The result of a check: its subject, its state, and the remedy if it is not well."""

    name: str
    grade: Grade
    said: str
    mend: str = ""


def microphones() -> Finding:
    """PortAudio and the microphones."""
    from streamcab.source.device import list_devices

    try:
        found = list_devices()
    except StreamcabError as error:
        said, _, mend = str(error).partition(": ")
        return Finding("microphones", "warn", said, mend)
    if not found:
        return Finding(
            "microphones", "warn", "PortAudio works but finds none", "connect one, or use --rtp or --file"
        )
    return Finding("microphones", "ok", f"{len(found)}: {', '.join(d.name for d in found[:3])}")


def permissions(folder: Path = SOUND) -> Finding:
    """Check whether this user may open the sound cards."""
    cards = sorted(folder.glob("pcm*c")) if folder.is_dir() else []
    if not cards:
        return Finding("sound cards", "ok", "none with an input; a sound server and RTP need none")
    shut = [card.name for card in cards if not os.access(card, os.R_OK | os.W_OK)]
    if shut:
        mend = "usermod -aG audio USER, then log in again; for a service: SupplementaryGroups=audio"
        return Finding("sound cards", "warn", f"{', '.join(shut)} cannot be opened by this user", mend)
    return Finding("sound cards", "ok", f"{len(cards)} can be opened")


def receive_buffer(limit: Path = RMEM_MAX) -> Finding:
    """Check whether the kernel grants RTP a buffer for bursts."""
    try:
        granted = int(limit.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Finding("rmem_max", "ok", "unknown on this system")
    if granted < RECEIVE_BUFFER:
        mend = f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER}, and in /etc/sysctl.d to keep it; only RTP needs it"
        return Finding("rmem_max", "warn", f"{granted >> 10} kB; bursts of many calls may be lost", mend)
    return Finding("rmem_max", "ok", f"{granted >> 10} kB")


def cores() -> Finding:
    """Find the number of cores, and whether other programs use them."""
    count, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    said = f"{count} available, load {load:.1f}"
    if load > count:
        return Finding(
            "cores",
            "warn",
            f"{said}: other programs are busy",
            "stop them, or give the daemon a core (CPUAffinity=)",
        )
    return Finding("cores", "ok", said)


def descriptors() -> Finding:
    """Find the limit of open files and sockets."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        return Finding(
            "descriptors", "warn", f"at most {soft}", f"ulimit -n {FILES}; for a service: LimitNOFILE="
        )
    return Finding("descriptors", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft}")


def gpu() -> Finding:
    """Check whether torch finds a GPU; without torch, whether OpenVINO loads."""
    from streamcab.nn.device import device_for

    try:
        device = device_for("auto")
    except (ImportError, OSError) as error:
        return Finding(
            "compute", "bad", f"torch does not load: {error}", "pip install --force-reinstall torch"
        )
    if device != "cpu":
        return Finding("compute", "ok", device)
    try:
        import streamcab.nn.backend.unreported  # noqa: F401
    except (ImportError, OSError) as error:
        return Finding(
            "compute", "bad", f"OpenVINO does not load: {error}", "pip install --force-reinstall openvino"
        )
    return Finding("compute", "ok", "no GPU for torch; the CPU is used")


def model() -> Finding:
    """Check whether the bundled model loads."""
    try:
        from streamcab.nn import checkpoint

        loaded = checkpoint.load(checkpoint.bundled())
    except (StreamcabError, ImportError, OSError) as error:
        return Finding("model", "bad", str(error), "reinstall streamcab, or use --model FILE")
    return Finding("model", "ok", f"{loaded.hash}: {', '.join(loaded.architecture.labels)}")


def port(number: int, kind: socket.SocketKind, use: str, option: str) -> Finding:
    """Check whether a port on the loopback interface is free."""
    name = f"port {number}"
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # Connections of a daemon that ended a minute ago do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            return Finding(
                name,
                "warn",
                f"{use}: {error.strerror}",
                f"`ss -lptun sport = :{number}` shows its owner; or use {option}",
            )
    return Finding(name, "ok", f"free, for {use}")


def feed_port(endpoint: str) -> Finding:
    """Check whether the feed's port is free, or used by a daemon that answers."""
    from streamcab.feed import Subscriber

    number = int(endpoint.rpartition(":")[2])
    found = port(number, socket.SOCK_STREAM, "the feed", "listen --endpoint")
    if found.grade == "ok":
        return found
    with contextlib.suppress(StreamcabError), Subscriber(endpoint) as feed:
        if feed.recv(ANSWER_S) is not None:
            return Finding(found.name, "ok", "in use by a daemon that answers")
    return found


def clock(now: float | None = None, synchronised: bool | None = None) -> Finding:
    """Check whether the time is plausible and synchronised."""
    mend = "apt install systemd-timesyncd (or chrony), timedatectl set-ntp true"
    now = time.time() if now is None else now
    if now < BORN:
        said = (
            f"the date is {time.strftime('%Y-%m-%d', time.gmtime(now))}; the times in the feed would be wrong"
        )
        return Finding("clock", "bad", said, mend)
    synchronised = _synchronised() if synchronised is None else synchronised
    if not synchronised:
        return Finding("clock", "warn", "not synchronised, so times of two machines cannot be compared", mend)
    return Finding("clock", "ok", "synchronised")


def curve() -> Finding:
    """Check whether ZeroMQ supports encryption."""
    from streamcab.feed.curve import Pair

    try:
        Pair.random()
    except Exception as error:  # an optional part of a library: any failure means that it is not there
        return Finding(
            "encryption", "warn", f"ZeroMQ has no CURVE ({error})", "pip install --force-reinstall pyzmq"
        )
    return Finding("encryption", "ok", "ZeroMQ has CURVE")


def examine(endpoint: str, metrics_port: int, rtp_port: int) -> Iterator[Finding]:
    """Run every check; a check that fails is a finding, too."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("model", model),
        ("compute", gpu),
        ("cores", cores),
        ("microphones", microphones),
        ("sound cards", permissions),
        ("rmem_max", receive_buffer),
        ("descriptors", descriptors),
        ("feed", lambda: feed_port(endpoint)),
        ("metrics", lambda: port(metrics_port, socket.SOCK_STREAM, "metrics", "metrics --listen")),
        ("rtp", lambda: port(rtp_port, socket.SOCK_DGRAM, "RTP", "listen --rtp")),
        ("clock", clock),
        ("encryption", curve),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # a doctor who falls ill says so and goes on
            yield Finding(
                name, "bad", f"the check failed: {type(error).__name__}: {error}", "please report this"
            )


def _synchronised() -> bool:
    """Ask for the kernel's view of the clock's synchronisation."""
    timex = (ctypes.c_int * 64)()  # struct timex, all zero: only ask
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return True
    status = timex[10]  # after modes and four longs of 8 bytes
    return state < 0 or not status & UNSYNCHRONISED
