"""UDP sockets to listen on: addresses, multicast groups, and buffers as large as the system grants.

Knows nothing of the datagrams.
"""

import contextlib
import errno
import socket
import struct
import sys
from dataclasses import dataclass

from streamcab.errors import ConfigError, SourceError

BUFFER = 16 << 20
"""Requested SO_RCVBUF: 0.8 s of a thousand calls. The usual 208 kB hold 5 ms of them."""

EVERYWHERE = "::"
"""All addresses of this machine, in both families."""
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO_DROPS = 8


@dataclass(frozen=True)
class Address:
    """An address to listen on: `127.0.0.1:5004`, `[::1]:5004`, `239.69.1.1%eth0:5004` or `[ff15::1%eth0]:5004`."""

    host: str
    port: int
    interface: str = ""
    """The interface on which to join a multicast group; empty lets the system choose."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse any of these forms; ConfigError for another."""
        host, colon, port = text.strip().rpartition(":")
        host, _, interface = host.removeprefix("[").removesuffix("]").partition("%")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.inet_pton(family, host)
        except OSError:
            colon = ""
        if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise ConfigError(f"not an address to listen on: {text!r}; write 127.0.0.1:5004 or [::1]:5004")
        return cls(host, int(port), interface)

    @property
    def group(self) -> bool:
        """Return whether this is a multicast group."""
        if ":" in self.host:
            return socket.inet_pton(socket.AF_INET6, self.host)[0] == 0xFF
        return 224 <= socket.inet_pton(socket.AF_INET, self.host)[0] < 240

    def __str__(self) -> str:
        zone = f"%{self.interface}" if self.interface else ""
        return f"[{self.host}{zone}]:{self.port}" if ":" in self.host else f"{self.host}{zone}:{self.port}"


def listen(address: Address, dual: bool = False, shared: bool = False) -> socket.socket:
    """Return a bound, non-blocking UDP socket with the largest possible buffer and its group joined. SourceError.

    dual: `[::]` includes IPv4      shared: other sockets of this user may be bound there too
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise SourceError(f"cannot listen on {address}: {error.strerror}") from error
    try:
        index = socket.if_nametoindex(address.interface) if address.interface else 0
        if family == socket.AF_INET6:
            sock.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not (dual and address.host == EVERYWHERE))
            )
        if address.group:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.bind((address.host, address.port, 0, index))
        else:
            sock.bind((address.host, address.port))
        if address.group:
            _join(sock, address.host, index)
        sock.setblocking(False)
        _enlarge(sock)
    except OSError as error:
        sock.close()
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = "; another program has this port (`ss -ulnp` says which)"
        elif error.errno == errno.EADDRNOTAVAIL:
            hint = "; no interface of this machine has this address"
        elif error.errno == errno.EACCES:
            hint = "; ports below 1024 are the system's: choose a higher one"
        raise SourceError(f"cannot listen on {address}: {error.strerror or error}{hint}") from error
    return sock


def join_anew(sock: socket.socket, address: Address, index: int) -> int:
    """Follow a group's named interface, joined as number `index` (0: not joined), to its current number.

    An interface that was unplugged returns under another number, without its groups. Returns the number that is now
    joined.
    """
    try:
        now = socket.if_nametoindex(address.interface)
    except OSError:
        now = 0
    if now == index:
        return index
    if index:
        with contextlib.suppress(OSError):  # the kernel may have left already
            _join(sock, address.host, index, leave=True)
    if now:
        try:
            _join(sock, address.host, now)
        except OSError:  # the interface exists but is not up yet
            return 0
    return now


def _join(sock: socket.socket, host: str, index: int, leave: bool = False) -> None:
    if ":" in host:
        request = struct.pack("=16sI", socket.inet_pton(socket.AF_INET6, host), index)
        option = socket.IPV6_LEAVE_GROUP if leave else socket.IPV6_JOIN_GROUP
        sock.setsockopt(socket.IPPROTO_IPV6, option, request)
        return
    group = socket.inet_pton(socket.AF_INET, host)
    # struct ip_mreqn if an interface is named; systems other than Linux have only ip_mreq.
    request = (
        struct.pack("=4s4si", group, bytes(4), index) if index else struct.pack("=4s4s", group, bytes(4))
    )
    sock.setsockopt(
        socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP if leave else socket.IP_ADD_MEMBERSHIP, request
    )


def _enlarge(sock: socket.socket) -> None:
    if sys.platform == "linux":
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
            return
        except PermissionError:
            pass  # needs CAP_NET_ADMIN
    asked = BUFFER
    while asked > 65536:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
            return
        except OSError:  # BSD refuses a size that Linux would reduce
            asked //= 2


def buffer_bytes(sock: socket.socket) -> int:
    """Return the size of the granted receive buffer: Linux reports twice the requested size."""
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return granted // 2 if sys.platform == "linux" else granted


def kernel_drops(sock: socket.socket) -> int:
    """Return the datagrams dropped by the kernel because this socket's buffer was full; 0 if not reported."""
    if sys.platform != "linux":
        return 0
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
    except OSError:  # closed, or a kernel before 4.12
        return 0
    words = struct.unpack(f"={len(raw) // 4}I", raw)
    return words[_MEMINFO_DROPS] if len(words) > _MEMINFO_DROPS else 0
