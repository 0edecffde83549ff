"""Who may send calls: signatures by vectors, by the vendors' own libraries where installed, and forged ones."""

import base64
import hmac
import json
from hashlib import sha256
from pathlib import Path

import pytest

from streamcab.errors import ConfigError
from streamcab.media import signatures
from streamcab.media.admission import Admission, Secrets, read_secrets
from streamcab.media.serializer import Handshake

TOKEN = "a-token-of-enough-letters"
KEY = "0123456789abcdef"
URL = "wss://streamcab.example"
NOW = 1_790_000_000.0


def asked(
    path: str = "/twilio", query: str = "", params: dict[str, str] | None = None, **headers: str
) -> Handshake:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Handshake(path, query, params or {}, named, "192.0.2.1")


def test_twilio_by_vector() -> None:
    assert signatures.twilio("12345", f"{URL}/twilio") == "Z/fkH6b+nNyw25h43DWqz7gb5TQ="
    assert signatures.twilio("12345", f"{URL}/twilio/") == "5KoiJJzsTaRWypjlRHWUWdqlSww="


def test_plivo_by_vector() -> None:
    made = signatures.plivo("12345", "https://streamcab.example/plivo", "05429567804466091622")
    assert made == "VeELJ565PI7+dEIp78LSmXWmEkAn5yhRqkqmFCUupGM="


def test_twilio_by_its_own_library() -> None:
    validator = pytest.importorskip("twilio.request_validator", reason="pip install twilio")
    url = f"{URL}/twilio/team/7"
    assert validator.RequestValidator(KEY).compute_signature(url, {}) == signatures.twilio(KEY, url)


def test_plivo_by_its_own_library() -> None:
    v3 = pytest.importorskip("plivo.utils.signature_v3", reason="pip install plivo")
    url = "https://streamcab.example/plivo?b=2&a=1"
    assert v3.validate_v3_signature("GET", url, "n0nce", KEY, signatures.plivo(KEY, url, "n0nce"))


def test_a_signature_of_twilio_admits_its_address_only() -> None:
    rule = Admission(Secrets(twilio_auth_token=KEY), URL)
    good = signatures.twilio(KEY, f"{URL}/twilio")
    assert rule.refusal("twilio", asked(x_twilio_signature=good), NOW) == ""
    for shake in (
        asked(),
        asked(x_twilio_signature=""),
        asked("/twilio/other", x_twilio_signature=good),
        asked(query="a=1", x_twilio_signature=good),
        asked(x_twilio_signature=signatures.twilio("another-key-of-16", f"{URL}/twilio")),
        asked(x_twilio_signature="A" + good[1:]),
        asked(x_twilio_signature="\udcff"),
    ):
        assert rule.refusal("twilio", shake, NOW)
    assert "--media-url" in rule.refusal(
        "twilio", asked(x_twilio_signature=signatures.twilio(KEY, f"{URL}/twilio/")), NOW
    )
    assert rule.refusal("vonage", asked("/vonage", x_twilio_signature=good), NOW), "of another protocol"


def test_a_signature_of_plivo_admits() -> None:
    rule = Admission(Secrets(plivo_auth_token=KEY), URL)
    for signed in (f"{URL}/plivo", "https://streamcab.example/plivo"):
        good = signatures.plivo(KEY, signed, "n0nce")
        for given in (good, f"other,{good}"):
            shake = asked("/plivo", x_plivo_signature_v3=given, x_plivo_signature_v3_nonce="n0nce")
            assert rule.refusal("plivo", shake, NOW) == ""
        shake = asked("/plivo", x_plivo_signature_v3=good, x_plivo_signature_v3_nonce="another")
        assert rule.refusal("plivo", shake, NOW)


def web_token(secret: str, alg: str = "HS256", **claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    head = f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims)}"
    made = hmac.digest(secret.encode(), head.encode(), sha256)
    return f"{head}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def test_a_web_token_of_vonage_admits_until_it_expires() -> None:
    rule = Admission(Secrets(vonage_signature_secret=KEY), URL)
    good = web_token(KEY, iat=NOW - 5, exp=NOW + 60)
    assert rule.refusal("vonage", asked("/vonage", authorization=f"Bearer {good}"), NOW) == ""
    head, body, signature = good.split(".")
    for bad in (
        web_token("another-secret-of-16", iat=NOW - 5, exp=NOW + 60),
        web_token(KEY, alg="none", iat=NOW - 5, exp=NOW + 60),
        web_token(KEY, alg="RS256", iat=NOW - 5, exp=NOW + 60),
        web_token(KEY, iat=NOW - 90, exp=NOW - 30),
        web_token(KEY, iat=NOW + 3600, exp=NOW + 7200),
        web_token(KEY, iat=NOW - 5, exp=str(NOW + 60)),
        web_token(KEY, iat=NOW - 5),
        web_token(KEY, iat=True, exp=NOW + 60),
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.!!!.{signature}",
        f"{base64.urlsafe_b64encode(b'[' * 90_000).decode()}.{body}.{signature}",
        "",
    ):
        assert rule.refusal("vonage", asked("/vonage", authorization=f"Bearer {bad}"), NOW), bad[:60]


def test_a_web_token_by_pyjwt() -> None:
    jwt = pytest.importorskip("jwt", reason="pip install PyJWT")
    made = jwt.encode({"iat": NOW - 1, "exp": NOW + 9}, KEY, algorithm="HS256")
    assert signatures.jwt(made, KEY, NOW)


SECRET = base64.b64encode(b"a secret of Genesys, 32 bytes   ").decode()
NAMES = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)


def genesys(
    *, secret: str = SECRET, names: tuple[str, ...] = NAMES, created: float = NOW, **other: str
) -> Handshake:
    """A request as Genesys signs it: HTTP message signatures, draft 11."""
    headers = {
        "host": "streamcab.example",
        "audiohook-organization-id": "org",
        "audiohook-session-id": "se-1",
        "audiohook-correlation-id": "cor-1",
        "x-api-key": KEY,
    }
    values = headers | {"@request-target": "/audiohook", "@authority": "streamcab.example"}
    listed = " ".join(f'"{name}"' for name in names)
    raw = f'({listed});keyid="{KEY}";nonce="VGhpcyBpcyBhIG5vbmNlLi4u";alg="hmac-sha256";created={created:.0f}'
    signed = "\n".join([*(f'"{name}": {values[name]}' for name in names), f'"@signature-params": {raw}'])
    made = base64.b64encode(hmac.digest(base64.b64decode(secret), signed.encode(), sha256)).decode()
    headers |= {"signature-input": f"sig1={raw}", "signature": f"sig1=:{made}:"}
    return Handshake("/audiohook", headers=headers | {k.replace("_", "-"): v for k, v in other.items()})


def test_a_signature_of_genesys_admits() -> None:
    rule = Admission(Secrets(audiohook_api_key=KEY, audiohook_client_secret=SECRET), URL)
    assert rule.refusal("audiohook", genesys(), NOW) == ""
    other = base64.b64encode(b"another secret").decode()
    for bad in (
        genesys(secret=other),
        genesys(created=NOW - 60),
        genesys(created=NOW + 60),
        genesys(audiohook_session_id="se-2"),
        genesys(x_api_key="another-key-of-16"),
        genesys(signature=""),
        genesys(signature_input=""),
        genesys(signature_input="sig1=" + '"' * 5000),
        *(genesys(names=tuple(n for n in NAMES if n != left_out)) for left_out in NAMES),
    ):
        assert rule.refusal("audiohook", bad, NOW)


@pytest.mark.parametrize(
    "protocol", ["twilio", "vonage", "jambonz", "freeswitch", "asterisk", "exotel", "audiohook"]
)
def test_a_token_opens_every_path_in_three_ways(protocol: str) -> None:
    rule = Admission(Secrets(tokens=("another-token-16", TOKEN)), URL)
    basic = base64.b64encode(f"name:{TOKEN}".encode()).decode()
    for shake in (
        asked(authorization=f"Bearer {TOKEN}"),
        asked(authorization=f"Basic {basic}"),
        asked(params={"token": TOKEN}),
    ):
        assert rule.refusal(protocol, shake, NOW) == ""
    for shake in (
        asked(),
        asked(authorization=TOKEN),
        asked(authorization=f"Bearer {TOKEN}x"),
        asked(authorization="Basic " + "A" * 1_000_000),
        asked(authorization="Basic =="),
        asked(params={"token": ""}),
    ):
        assert rule.refusal(protocol, shake, NOW)


def test_telnyx_shows_a_token_of_its_own() -> None:
    rule = Admission(Secrets(telnyx_stream_token=TOKEN))
    assert rule.refusal("telnyx", asked(x_telnyx_streaming_auth_token=TOKEN), NOW) == ""
    assert rule.refusal("telnyx", asked(x_telnyx_streaming_auth_token="x"), NOW)


def test_secrets_of_one_vendor_open_no_other_path() -> None:
    rule = Admission(Secrets(twilio_auth_token=KEY), URL)
    for protocol in ("plivo", "telnyx", "vonage", "audiohook", "exotel", "asterisk", "freeswitch"):
        assert rule.refusal(protocol, asked(authorization=f"Bearer {KEY}"), NOW)


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ({"host": "127.0.0.1:8765"}, True),
        ({"host": "localhost:8765"}, True),
        ({"host": "[::1]:8765"}, True),
        ({"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8765"}, True),
        ({"host": "127.0.0.1:8765", "origin": "https://evil.example"}, False),
        ({"host": "127.0.0.1:8765", "origin": "null"}, False),
        ({"host": "evil.example"}, False),
        ({"host": "[evil"}, False),
        ({}, False),
    ],
)
def test_without_secrets_no_page_of_the_browser_gets_in(headers: dict[str, str], admitted: bool) -> None:
    why = Admission(None).refusal("twilio", asked(**headers), NOW)
    assert (why == "") is admitted


def test_secrets_are_read_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text(f'tokens = ["{TOKEN}"]\ntwilio-auth-token = "{KEY}"\n', encoding="utf-8")
    path.chmod(0o600)
    assert read_secrets(path) == Secrets(tokens=(TOKEN,), twilio_auth_token=KEY)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secrets(path)


@pytest.mark.parametrize(
    "text",
    [
        *("tokens = 5", 'tokens = ["short"]', 'nobody = "x"', "=", f'audiohook-client-secret = "{SECRET}"'),
        f'audiohook-api-key = "{KEY}"\naudiohook-client-secret = "no base64, as can be seen"',
    ],
)
def test_secrets_that_cannot_be_right(text: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as error:
        read_secrets(path)
    assert str(path) in str(error.value)


def test_secrets_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_secrets(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("junk", "no address"),
        ("media.example.com", "no address"),
        ("ftp://media.example.com", "no address"),
        ("wss://", "no address"),
        ("wss://media.example.com?token=x", "no address"),
        ("wss://media.example.com/twilio", "leave out /twilio"),
        ("wss://media.example.com/calls/audiohook/", "leave out /audiohook"),
    ],
)
def test_an_address_that_no_vendor_can_have_dialled_is_refused(url: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        Admission(Secrets(twilio_auth_token=KEY), url)
    Admission(Secrets(twilio_auth_token=KEY), "https://media.example.com/calls/")
