"""Signatures by which platforms authenticate the opening request. Pure functions; the time is an argument.

Comparisons take constant time. Knows nothing of settings or sockets.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha1, sha256
from urllib.parse import parse_qsl, urlsplit, urlunsplit

AGE_S = 10.0
"""How old a signature with a time in it may be."""
AUDIOHOOK = frozenset(
    {
        "@request-target",
        "@authority",
        "audiohook-organization-id",
        "audiohook-session-id",
        "audiohook-correlation-id",
        "x-api-key",
    }
)
"""What Genesys must have signed."""
NONCE = 22
"""Characters that a nonce of Genesys has at least."""


def same(a: str, b: str) -> bool:
    """Return whether two texts are equal, in constant time."""
    return hmac.compare_digest(a.encode(errors="surrogatepass"), b.encode(errors="surrogatepass"))


def twilio(token: str, url: str) -> str:
    """Return the value of `X-Twilio-Signature` for this address."""
    return base64.b64encode(hmac.digest(token.encode(), url.encode(), sha1)).decode()


def plivo(token: str, url: str, nonce: str) -> str:
    """Return the value of `X-Plivo-Signature-V3` for this address: the query is sorted by name."""
    parts = urlsplit(url)
    pairs = sorted(parse_qsl(parts.query, keep_blank_values=True))
    query = "&".join(f"{name}={value}" for name, value in pairs)
    signed = f"{urlunsplit((parts.scheme, parts.netloc, parts.path, query, ''))}.{nonce}"
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), sha256)).decode()


def as_http(url: str) -> list[str]:
    """Return the same address with the schemes of HTTP too: Plivo's own libraries disagree on which one is signed."""
    scheme, colon, rest = url.partition("://")
    return [url, f"http{'s' if scheme == 'wss' else ''}{colon}{rest}"]


def jwt(token: str, secret: str, now: float) -> bool:
    """Return whether a JSON Web Token is signed by HS256 with this secret and valid now; it must have an expiry."""
    try:
        head, body, signature = token.split(".")
        if _json(head).get("alg") != "HS256":
            return False
        wanted = hmac.digest(secret.encode(), f"{head}.{body}".encode(), sha256)
        if not hmac.compare_digest(wanted, _unpadded(signature)):
            return False
        claims = _json(body)
    except (ValueError, UnicodeError):
        return False
    issued, expires = claims.get("iat"), claims.get("exp")
    times = [t for t in (issued, expires) if not isinstance(t, bool) and isinstance(t, int | float)]
    return len(times) == 2 and times[0] <= now + AGE_S and now < times[1]


def _unpadded(text: str) -> bytes:
    if not re.fullmatch("[A-Za-z0-9_-]*", text):
        raise ValueError("not base64 for addresses")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(part: str) -> dict[str, object]:
    try:
        found = json.loads(_unpadded(part))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


_LABEL = re.compile(r'([a-z0-9_-]{1,64})=(\((?:"[^"]{1,128}" ?){1,32}\)[^,]{0,512})')
_NAME = re.compile(r'"([^"]*)"')
_PARAMETER = re.compile(r';([a-z]+)=(?:"([^"]*)"|(\d{1,15}))')


def audiohook(
    headers: Mapping[str, str], target: str, authorities: Iterable[str], key: str, secret: str, now: float
) -> str:
    """Check Genesys' signature over the request.

    Args:
        headers: Of the request, by lower-case name.
        target: Its path and query, as they arrived.
        authorities: The names under which this server may have been asked.
        key: The API key.
        secret: The client secret, in base64.
        now: Unix time.

    Returns:
        What is wrong; empty if the signature is right.
    """
    found = _LABEL.fullmatch(headers.get("signature-input", ""))
    if found is None:
        return "no signature that can be read"
    label, raw = found.groups()
    names = _NAME.findall(raw.partition(")")[0])
    given = {name: text or number for name, text, number in _PARAMETER.findall(raw.partition(")")[2])}
    if len(set(names)) != len(names) or not set(names) >= AUDIOHOOK:
        return "the signature leaves out parts of the request"
    if not same(given.get("keyid", ""), key) or len(given.get("nonce", "")) < NONCE:
        return "another key, or no nonce"
    if not given.get("created", "").isdecimal() or not abs(now - int(given["created"])) <= AGE_S:
        return "the signature is too old, or its time is ahead of the clock"
    if given.get("expires", "").isdecimal() and int(given["expires"]) < now:
        return "the signature has expired"
    match = re.fullmatch(rf"{re.escape(label)}=:([A-Za-z0-9+/=]{{1,256}}):", headers.get("signature", ""))
    if match is None:
        return "no signature that can be read"
    try:
        signature = base64.b64decode(match[1], validate=True)
        secret_bytes = base64.b64decode(secret, validate=True)
    except binascii.Error:
        return "no base64"
    for authority in authorities:
        special = {"@request-target": target, "@authority": authority}
        lines = [f'"{name}": {special.get(name, headers.get(name, ""))}' for name in names]
        signed = "\n".join([*lines, f'"@signature-params": {raw}'])
        if hmac.compare_digest(hmac.digest(secret_bytes, signed.encode(), sha256), signature):
            return ""
    return "the signature does not fit"
