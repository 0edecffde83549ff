"""The endpoint of a feed, and who could reach it.

Owns the rules for addresses and for the files of ipc sockets. Knows nothing of messages or of keys, but
whether there are any.
"""

import grp
import ipaddress
import os
import re
import socket
import stat

import zmq

from streamcab.config.tree import ENDPOINT
from streamcab.errors import FeedError

_SPELLED = {"localhost": "127.0.0.1", "*": "0.0.0.0"}

_TCP = re.compile(r"tcp://(?:\[([^\]]*)\]|([^:\[\]]*)):(\*|[0-9]{1,5})")


def prepare(socket: zmq.Socket[bytes], address: str) -> None:
    """Set the options of both ends: nothing lingers at the end, and a peer that vanished silently is noticed within 25
    s."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, "[" in address)  # not for names: libzmq would try ::1 alone for localhost
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)


def bindable(endpoint: str, keyed: bool = False) -> str:
    """Return `endpoint` in the form that ZeroMQ binds: an address, not a host name.

    FeedError when others could reach it and it is not `keyed`.
    """
    if endpoint.startswith("ipc://"):
        _free_path(endpoint, endpoint.removeprefix("ipc://"))
        return endpoint
    match = _TCP.fullmatch(endpoint)
    if match is None or (match[3] != "*" and int(match[3]) > 65_535):
        raise FeedError(
            f"{endpoint!r} cannot carry the feed: write {ENDPOINT}, tcp://127.0.0.1:* or ipc:///DIR/feed.ipc"
        )
    host = match[1] or match[2]
    try:
        address = ipaddress.ip_address(_SPELLED.get(host, host))
    except ValueError:
        address = None
    if not keyed and (address is None or not address.is_loopback):
        raise FeedError(
            f"{endpoint!r} is refused: no keys are configured, so anybody who reaches it could listen; "
            f"make keys (`streamcab keys new server`), or bind {ENDPOINT} and listen from elsewhere through "
            "`ssh -L 5557:127.0.0.1:5557 HOST`"
        )
    if address is None:
        raise FeedError(
            f"{endpoint!r} is refused: {host!r} is no address; write tcp://0.0.0.0:5557 for all networks"
        )
    port = "*" if match[3] == "*" or int(match[3]) == 0 else match[3]
    return f"tcp://[{address}]:{port}" if address.version == 6 else f"tcp://{address}:{port}"


def share(endpoint: str, group: str) -> None:
    """Lets the members of `group` in at the socket file of an ipc `endpoint`. FeedError: it cannot be."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint:
        raise FeedError(f"{endpoint} has no file that a group could share: write ipc:///DIR/feed.ipc")
    try:
        number = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise FeedError(
            f"{endpoint} cannot be shared with the group {group!r}: there is none of that name"
        ) from None
    try:
        os.chown(path, -1, number)
        os.chmod(path, 0o660)  # to connect is to write
    except OSError as error:
        raise FeedError(
            f"{endpoint} cannot be shared with the group {group!r}: {error.strerror}; is the daemon in it?"
        ) from None


def _free_path(endpoint: str, path: str) -> None:
    """Removes the socket that a dead daemon left at `path`, and nothing else; libzmq removes any file."""
    directory = os.path.dirname(path) or "."
    if not path or path[0] in "@*":
        raise FeedError(
            f"{endpoint!r} has no file whose permissions could guard it: write ipc:///DIR/feed.ipc"
        )
    if not os.path.isdir(directory):
        raise FeedError(
            f"{endpoint}: there is no directory {directory}; make it, writable for the daemon only"
        )
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FeedError(f"{endpoint}: {path} is there and no socket; move it away or choose another path")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
    except BlockingIOError:
        raise taken(endpoint) from None
    except OSError as error:
        raise FeedError(f"the feed cannot be bound to {endpoint}: {error.strerror or error}") from None
    else:
        raise taken(endpoint)


def taken(endpoint: str) -> FeedError:
    """Return the error for an endpoint that is already in use."""
    return FeedError(
        f"{endpoint} is taken, perhaps by another streamcab: stop that, or choose another endpoint"
    )
