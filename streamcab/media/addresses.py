"""Addresses that a server listens at, and its TLS. Knows nothing of admission."""

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


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Make a context of TLS 1.2 or newer from these files; raise ConfigError if they cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the certificate {cert} with the key {key}: {error}") from None
    return context
