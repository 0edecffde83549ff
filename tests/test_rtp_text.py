"""What people write: payload types, session descriptions, addresses, name maps."""

import pytest

from streamcab.errors import ConfigError
from streamcab.message import valid_name
from streamcab.rtp.batch import pack_address, unpack_address
from streamcab.rtp.codec import Encoding
from streamcab.rtp.names import CallNames, clean, parse_name_map
from streamcab.rtp.packet import Fate
from streamcab.rtp.sdp import parse_sdp, parse_types
from streamcab.rtp.udp import Address

AES67 = """v=0
o=- 1311738121 1311738121 IN IP4 192.0.2.1
s=Stage left I/O
c=IN IP4 239.0.0.1/32
t=0 0
m=audio 5004 RTP/AVP 96
i=Channels 1-8
a=rtpmap:96 L24/48000/8
a=recvonly
a=ptime:1
"""
PBX = """v=0\r
o=- 0 0 IN IP4 127.0.0.1\r
s=call\r
t=0 0\r
m=video 4000 RTP/AVP 99\r
a=rtpmap:99 H264/90000\r
m=audio 5006 RTP/AVP 0 8 97 101 120\r
c=IN IP6 ::1\r
a=rtpmap:97 opus/48000/2\r
a=rtpmap:101 telephone-event/8000\r
a=rtpmap:120 iLBC/8000\r
a=rtpmap:55 PCMU/8000\r
"""


def test_payload_types():
    types = parse_types(["97=opus/48000/2", "98=L16/16000", "99=telephone-event/8000", "0=PCMA/8000"])
    assert types.encodings == {
        97: Encoding("OPUS", 48000),
        98: Encoding("L16", 16000),
        0: Encoding("PCMA", 8000),
    }
    assert types.special == {99: Fate.EVENT}


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("97", "no codec"),
        ("x=opus/48000", "NUMBER=NAME"),
        ("128=PCMU/8000", "0 to 127"),
        ("72=PCMU/8000", "RTCP"),
        ("97=mp3/90000", "there are PCMU"),
        ("97=opus/16000", "clock of OPUS is 48000"),
        ("9=G722/16000", "clock of G722 is 8000"),
        ("97=L16/0", "4000 to 192000"),
        ("97=L16/8000/99", "32 channels"),
        ("97=L16/8000/1/1", "name/clock"),
        ("97=L16/eight", "name/clock"),
    ],
)
def test_bad_payload_types_say_what_is_wrong(entry, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_types([entry])


def test_a_description_of_a_broadcaster():
    types = parse_sdp(AES67)
    assert types.encodings == {96: Encoding("L24", 48000, 8)}
    assert types.endpoints == ["239.0.0.1:5004"]


def test_a_description_of_a_telephone():
    types = parse_sdp(PBX)
    assert types.encodings == {
        0: Encoding("PCMU", 8000),
        8: Encoding("PCMA", 8000),
        97: Encoding("OPUS", 48000),
    }
    assert types.special == {101: Fate.EVENT}
    assert types.endpoints == ["[::1]:5006"]


@pytest.mark.parametrize(
    "text", ["", "hello", "m=video 1 RTP/AVP 99", "m=audio 1 RTP/AVP 120\na=rtpmap:120 x/1"]
)
def test_descriptions_without_audio_are_refused(text):
    with pytest.raises(ConfigError, match=r"file\.sdp"):
        parse_sdp(text, "file.sdp")


@pytest.mark.parametrize("text", ["127.0.0.1:5004", "[::1]:5004", "239.1.2.3%lo:5004", "[ff15::1%lo]:5004"])
def test_addresses(text):
    assert str(Address.parse(text)) == text
    assert Address.parse(text).group == ("%" in text)


@pytest.mark.parametrize(
    "text", ["", "5004", ":5004", "localhost:5004", "127.0.0.1", "127.0.0.1:99999", "::1", "[::1]"]
)
def test_bad_addresses(text):
    with pytest.raises(ConfigError, match="not an address"):
        Address.parse(text)


@pytest.mark.parametrize("source", [("127.0.0.1", 5004), ("2001:db8::1", 65535)])
def test_addresses_survive_packing(source):
    assert unpack_address(pack_address(*source)) == source


def test_names():
    rules = parse_name_map(
        ["# desk phones", "10.0.0.0/8,*,*,desk", "192.0.2.1,5004,12ab,studio", "*,9000,*,any"]
    )
    names = CallNames(rules)
    assert names.give("192.0.2.1", 5004, 0x12AB) == "studio"
    assert names.give("192.0.2.1", 5004, 0x12AC) == "rtp-192.0.2.1-5004-000012ac"
    assert names.give("10.1.1.1", 1, 1) == "desk"
    assert names.give("10.1.1.2", 1, 1) == "desk-2"
    names.free("desk")
    assert names.give("10.1.1.3", 1, 1) == "desk"
    names.tell("::1", 7, "alice@pbx")
    assert names.give("::1", 4000, 7) == "alice@pbx"
    assert names.give("::1", 4000, 8) == "rtp-::1-4000-00000008"


@pytest.mark.parametrize(
    "cname", ["", "\u00fc", "/", "daemon", "a/b c", "x" * 500, "\0\0", "user@h", "{12-34}"]
)
def test_any_cname_gives_a_valid_name(cname):
    names = CallNames()
    names.tell("127.0.0.1", 1, cname)
    for _ in range(3):
        assert valid_name(names.give("127.0.0.1", 2, 1))
    assert clean("a/b c") == "a-b-c"


@pytest.mark.parametrize(
    ("cname", "name"),
    [
        ("\u00fcnal@b\u00fcro", "unal@buro"),
        ("\u00e4nal@b\u00fcro", "anal@buro"),
        ("sip:\u0410\u043d\u043d\u0430@pbx", "sip:Anna@pbx"),
        ("\u00fc", "u"),
        ("\u2026", ""),
        ("sip:alice@pbx", "sip:alice@pbx"),
    ],
)
def test_a_cname_in_any_script_can_be_told_from_others(cname: str, name: str) -> None:
    assert clean(cname) == name
    assert clean("\u4e00") != clean("\u4e8c")


def test_told_names_are_bounded():
    names = CallNames(remembered=10)
    for k in range(100):
        names.tell("h", k, f"n{k}")
    assert names.cname("h", 89) == ""
    assert names.cname("h", 90) == "n90"


@pytest.mark.parametrize(
    "line", ["a,b", "10.0.0.1,*,*,a/b", "nowhere,*,*,x", "*,port,*,x", "*,*,zz,x", "*,*,*,"]
)
def test_bad_name_maps_say_the_line(line):
    with pytest.raises(ConfigError, match=r"map\.csv, line 2"):
        parse_name_map(["*,1,1,fine", line], "map.csv")
