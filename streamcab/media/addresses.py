"""Addresses that a server listens at, and its TLS. Knows nothing of admission."""

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamcab.config.address import HostPort
from streamcab.errors import ConfigError


def parsed(addresses: Sequence[str]) -> list[HostPort]:
    """Parse addresses. ConfigError if one is invalid."""
    try:
        return [HostPort(text) for text in addresses]
    except ValueError as error:
        raise ConfigError(str(error)) from None


def address_of(server: Any) -> str:
    """Return the address that a server listens at."""
    host, port = server.sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Reserved:
    """Addresses kept for several processes, each of which listens at them with SO_REUSEPORT.

    These sockets do not listen, so the kernel gives connections to processes that live; a port stays taken meanwhile.

    Attributes:
        addresses: With the ports that the system chose.

    Raises:
        OSError: One is taken, or cannot be bound.
    """

    def __init__(self, binds: Sequence[HostPort]) -> None:
        self.addresses: list[str] = []
        self._sockets: list[socket.socket] = []
        try:
            for bind in binds:
                self._reserve(bind)
        except OSError:
            self.close()
            raise

    def _reserve(self, bind: HostPort) -> None:
        port = bind.port
        found = socket.getaddrinfo(bind.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            # Bound alone at first: SO_REUSEPORT would share a port with another daemon of this user.
            with _bound(family, (address[0], port, *address[2:]), shared=False) as alone:
                port = alone.getsockname()[1]
            self._sockets.append(_bound(family, (address[0], port, *address[2:]), shared=True))
        host = f"[{bind.host}]" if ":" in bind.host else bind.host
        self.addresses.append(f"{host}:{port}")

    def close(self) -> None:
        """Give the ports up."""
        for sock in self._sockets:
            sock.close()


def _bound(family: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server does: old connections linger
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Make a context of TLS 1.2 or newer from these files; raise ConfigError if they cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the certificate {cert} with the key {key}: {error}") from None
    return context
