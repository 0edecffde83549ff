"""Events to a URL by POST, signed as Standard Webhooks: HMAC-SHA256 over id, timestamp and body.

Only the standard library. No redirects are followed, and only a URL from the configuration is asked.
"""

import base64
import binascii
import hmac
import http.client
import ssl
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from streamcab import __version__
from streamcab.errors import ConfigError
from streamcab.sinks.parcel import Delivered, Later, Outcome, Parcel, Refused
from streamcab.text import read_text

TIMEOUT_S = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LEAST = 24
"""Bytes of a secret."""
MAY_WORK_LATER = (408, 425, 429)
LONGEST_AFTER_S = 3600.0


def secrets_in(file: Path) -> list[bytes]:
    """Return the secrets in a file, one a line, the newest first: `whsec_` and base64, or any text. ConfigError."""
    try:
        lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"no secret in {file}: {getattr(error, 'strerror', None) or error}") from None
    found = []
    for line in lines:
        try:
            coded = line.removeprefix("whsec_")
            found.append(base64.b64decode(coded, validate=True) if coded != line else line.encode())
        except (ValueError, binascii.Error):
            raise ConfigError(f"{file}: what follows whsec_ is no base64") from None
    if not found or min(map(len, found)) < LEAST:
        raise ConfigError(
            f"the secret in {file} must have at least {LEAST} bytes: openssl rand -base64 32 > {file}"
        )
    return found


def signature(secrets: list[bytes], uid: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature by each secret."""
    signed = b"%s.%d.%s" % (uid.encode(), timestamp, body)
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret, signed, sha256)).decode() for secret in secrets
    )


class Webhook:
    """A sink that posts to `url`, by one connection that is kept. ConfigError: the URL cannot be right."""

    def __init__(self, url: str, secrets: list[bytes]) -> None:
        self.name = "webhook"
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            port = parts.port
        except ValueError:
            port, host = None, ""
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise ConfigError(f"--webhook {url!r} is no URL; write https://HOST/PATH")
        if parts.scheme == "http" and host not in LOOPBACK:
            raise ConfigError(
                f"--webhook {url} is not encrypted: write https://, or put a proxy with TLS before it"
            )
        self._secure, self._host, self._port = parts.scheme == "https", host, port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secrets = secrets
        self._connection: http.client.HTTPConnection | None = None

    def deliver(self, parcel: Parcel) -> Outcome:
        """Post one parcel."""
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": f"streamcab/{__version__}",
            "webhook-id": parcel.uid,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._secrets, parcel.uid, now, parcel.body),
        }
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request("POST", self._path, parcel.body, headers)
            answer = self._connection.getresponse()
            answer.read(1 << 16)
            if not answer.isclosed():  # an endless answer
                self.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Later(f"{self._host}: {error or type(error).__name__}")
        said = f"{self._host} answers {answer.status} {answer.reason}".strip()
        if 200 <= answer.status < 300:
            return Delivered()
        if answer.status >= 500 or answer.status in MAY_WORK_LATER:
            return Later(said, _after(answer.getheader("retry-after")))
        return Refused(said)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)


def _after(header: str | None) -> float:
    """Return the seconds that a receiver asks for."""
    with suppress(TypeError, ValueError):
        return min(max(float(header or 0), 0.0), LONGEST_AFTER_S)
    return 0.0
