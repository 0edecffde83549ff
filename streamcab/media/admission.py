"""Admission of calls: tokens and vendors' signatures, checked in the opening request alone.

The secrets are in a file, so that no command line and no environment shows them. Knows nothing of sockets.
"""

import base64
import binascii
import contextlib
import ipaddress
import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamcab.errors import ConfigError
from streamcab.media import signatures
from streamcab.media.protocols import WEBSOCKET
from streamcab.media.serializer import Handshake
from streamcab.text import read_text

LEAST = 16
"""Characters of a token."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The file of secrets. A vendor's own proof is asked of its path wherever its secret is given."""

    tokens: tuple[str, ...] = ()
    """Any of them opens every path: as `Authorization: Bearer`, as Basic password, or as `?token=`."""
    twilio_auth_token: str = ""
    plivo_auth_token: str = ""
    telnyx_stream_token: str = ""
    vonage_signature_secret: str = ""
    audiohook_api_key: str = ""
    audiohook_client_secret: str = ""


def read_secrets(path: Path) -> Secrets:
    """Read the secrets in a TOML file; raise ConfigError if it cannot be read, or if others than its owner and group
    can."""
    try:
        mode = path.stat().st_mode
        table = tomllib.loads(read_text(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the secrets of media in {path}: {error}") from None
    if stat.S_ISREG(mode) and mode & 0o007 and os.name == "posix":
        raise ConfigError(f"{path} holds secrets and everybody may read it: chmod 600 {path}")
    try:
        found = msgspec.convert(table, Secrets)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None
    for name, value in msgspec.structs.asdict(found).items():
        for one in value if isinstance(value, tuple) else (value,):
            if one and len(one) < LEAST:
                raise ConfigError(
                    f"{path}: a secret under {name.replace('_', '-')} is too short: {LEAST} characters or more"
                )
    if bool(found.audiohook_client_secret) and not found.audiohook_api_key:
        raise ConfigError(f"{path}: audiohook-client-secret needs audiohook-api-key")
    try:
        base64.b64decode(found.audiohook_client_secret, validate=True)
    except ValueError:
        raise ConfigError(
            f"{path}: audiohook-client-secret is no base64: copy it as Genesys shows it"
        ) from None
    return found


class Admission:
    """The rule of a server. ConfigError: vendors could not have dialled this `url`.

    secrets  None: whoever reaches the address may send, which must then be a loopback address
    url      the server's public address, such as wss://media.example.com, over which vendors sign
    """

    def __init__(self, secrets: Secrets | None, url: str = "") -> None:
        self._secrets, self._url = secrets, _public(url).rstrip("/")
        self._checks: dict[str, Callable[[Secrets, Handshake, float], str]] = {
            "twilio": self._twilio,
            "plivo": self._plivo,
            "telnyx": self._telnyx,
            "vonage": self._vonage,
            "audiohook": self._audiohook,
        }

    def refusal(self, protocol: str, shake: Handshake, now: float) -> str:
        """Return why a request is refused, without any part of it; empty if it is admitted.

        Args:
            protocol: Name of the protocol.
            shake: The request.
            now: Unix time, in seconds.
        """
        secrets = self._secrets
        if secrets is None:
            return _stranger(shake)
        if any(_shown(shake, token) for token in secrets.tokens):
            return ""
        check = self._checks.get(protocol)
        return check(secrets, shake, now) if check is not None else "no valid token"

    def _address(self, shake: Handshake) -> str:
        return self._url + shake.path + (f"?{shake.query}" if shake.query else "")

    def _twilio(self, secrets: Secrets, shake: Handshake, now: float) -> str:
        token, given = secrets.twilio_auth_token, shake.headers.get("x-twilio-signature", "")
        if not token or not given:
            return "neither a valid token nor a signature of Twilio that can be checked"
        address = self._address(shake)
        if signatures.same(signatures.twilio(token, address), given):
            return ""
        near = [address + "/", address.removesuffix("/"), "https" + address.removeprefix("wss")]
        if any(signatures.same(signatures.twilio(token, other), given) for other in near):
            return f"Twilio signed another form of the address than {self._url} and the path: see --media-url"
        return "Twilio's signature does not fit"

    def _plivo(self, secrets: Secrets, shake: Handshake, now: float) -> str:
        token, nonce = secrets.plivo_auth_token, shake.headers.get("x-plivo-signature-v3-nonce", "")
        if not token or not nonce:
            return "neither a valid token nor a signature of Plivo that can be checked"
        given = shake.headers.get("x-plivo-signature-v3", "").split(",")[:8]
        for url in signatures.as_http(self._address(shake)):
            wanted = signatures.plivo(token, url, nonce)
            if any(signatures.same(wanted, one.strip()) for one in given):
                return ""
        return "Plivo's signature does not fit"

    def _telnyx(self, secrets: Secrets, shake: Handshake, now: float) -> str:
        token = secrets.telnyx_stream_token
        given = shake.headers.get("x-telnyx-streaming-auth-token", "")
        return "" if token and signatures.same(token, given) else "Telnyx's token does not fit"

    def _vonage(self, secrets: Secrets, shake: Handshake, now: float) -> str:
        secret = secrets.vonage_signature_secret
        scheme, _, token = shake.headers.get("authorization", "").partition(" ")
        valid = secret and scheme.lower() == "bearer" and signatures.jwt(token.strip(), secret, now)
        return "" if valid else "neither a valid token nor one that Vonage signed"

    def _audiohook(self, secrets: Secrets, shake: Handshake, now: float) -> str:
        key, secret = secrets.audiohook_api_key, secrets.audiohook_client_secret
        if not key or not signatures.same(key, shake.headers.get("x-api-key", "")):
            return "the API key of AudioHook does not fit"
        if not secret:
            return ""
        hosts = {urlsplit(self._url).netloc, shake.headers.get("host", "")} - {""}
        target = shake.path + (f"?{shake.query}" if shake.query else "")
        return signatures.audiohook(shake.headers, target, hosts, key, secret, now)


def _public(url: str) -> str:
    """Return the address that vendors dial, without the part of the path that names the protocol."""
    if not url:
        return url
    parts = urlsplit(url)
    if (
        parts.scheme not in ("ws", "wss", "http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
    ):
        raise ConfigError(f"--media-url {url!r} is no address such as wss://media.example.com")
    if (named := parts.path.rstrip("/").rpartition("/")[2]) in WEBSOCKET:
        raise ConfigError(f"--media-url {url!r}: leave out /{named}, which names the protocol of a call")
    return url


def _shown(shake: Handshake, token: str) -> bool:
    """Return whether the request shows this token, in any of the ways that platforms use."""
    scheme, _, rest = shake.headers.get("authorization", "").partition(" ")
    shown = [shake.params.get("token", "")]
    if scheme.lower() == "bearer":
        shown.append(rest.strip())
    elif scheme.lower() == "basic" and len(rest) < 1024:
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            shown.append(base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2])
    return any([signatures.same(token, one) for one in shown])  # noqa: C419 - all are compared, in constant time


def _stranger(shake: Handshake) -> str:
    """Return what makes a request a stranger's, or nothing: a page in this machine's browser can reach loopback too.

    It shows by its origin, or by a name for the host.
    """
    host = _host_of("//" + shake.headers.get("host", ""))
    if not _literal(host):
        return "a host name without secrets: a page of another site could have been given it"
    origin = shake.headers.get("origin")
    if origin is not None and _host_of(origin) not in {host, *LOOPBACK}:
        return "a page of another site"
    return ""


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _literal(host: str) -> bool:
    if host in LOOPBACK:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
