"""The messages: what goes out comes in, the schema and the document are those of the types."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest

from streamcab import message
from streamcab.message import (
    DAEMON,
    KINDS,
    AnyMessage,
    DaemonStatus,
    ModelInfo,
    Prediction,
    Status,
    decode,
    encode,
    topic,
    valid_name,
)

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "reference" / "feed.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "docs" / "reference" / "feed.schema.json").read_text(encoding="utf-8"))

ANSWER = Prediction(
    run="a1",
    seq=7,
    stream="mic",
    time=1.5,
    sample=2_208_000,
    rate=48_000,
    labels=["us", "uk"],
    probs={"us": 0.25, "uk": 0.75},
    now={"us": 0.5, "uk": 0.5},
    top="uk",
    confidence=0.75,
    state="live",
    window_s=30.0,
    voiced_s=21.0,
    heard_s=33.0,
    level_db=-27.0,
    lag_ms=71.0,
    lost_ms=0.0,
    overflows=0,
    attention=[0.5, 0.5],
    model="5f0c",
)
SILENCE = msgspec.structs.replace(
    ANSWER, probs={}, now={}, top=None, confidence=None, state="silent", level_db=None, attention=None
)
STATUS = Status(
    run="a1",
    seq=1,
    stream="mic",
    time=1.5,
    state="lost",
    source="microphone: USB Audio (48000 Hz)",
    rate=48_000,
    captured_s=40.0,
    classified_s=39.5,
    lag_ms=70.0,
    lost_ms=425.0,
    overflows=1,
    detail="the device is gone",
)
MODEL = ModelInfo(
    run="a1",
    seq=1,
    stream="mic",
    time=1.5,
    model="5f0c",
    name="bundled",
    labels=["us", "uk"],
    rate=8_000,
    normaliser="running",
    gate=True,
    window_s=30.0,
    licence="CC-BY-4.0",
    corpus="saa8k",
)
OURS = DaemonStatus(
    run="a1",
    seq=1,
    stream=DAEMON,
    time=1.5,
    streams=2,
    pass_ms=3.5,
    intervals_per_s=80.0,
    lost_ms=0.0,
    uptime_s=12.0,
    counters={"malformed packets": 3},
)
ALL = [ANSWER, SILENCE, STATUS, MODEL, OURS]


@pytest.mark.parametrize("sent", ALL)
def test_what_goes_out_comes_in_and_fits_the_schema(sent: AnyMessage) -> None:
    body = encode(sent)
    assert decode(body) == sent
    jsonschema.validate(json.loads(body), SCHEMA)


@pytest.mark.parametrize("sent", ALL)
def test_a_message_may_grow(sent: AnyMessage) -> None:
    grown = {**json.loads(encode(sent)), "added later": {"x": [1, None]}}
    assert decode(json.dumps(grown)) == sent
    jsonschema.validate(grown, SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "weather"},
        {"state": "bored"},
        {"seq": "7"},
        {"probs": {"us": None}},
        {"top": 3},
        {"run": None},
    ],
)
def test_the_schema_and_the_types_refuse_the_same(change: dict[str, object]) -> None:
    wrong = {**json.loads(encode(ANSWER)), **change}
    with pytest.raises(msgspec.ValidationError):
        decode(json.dumps(wrong))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


@pytest.mark.parametrize("name", ["run", "seq", "stream", "time", "kind", "probs"])
def test_the_schema_requires_what_every_daemon_sends(name: str) -> None:
    less = json.loads(encode(ANSWER))
    del less[name]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(less, SCHEMA)


def test_the_schema_is_up_to_date() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    made = runpy.run_path(str(ROOT / "tools" / "make_schema.py"))["text"]()
    assert (ROOT / "docs" / "reference" / "feed.schema.json").read_text(encoding="utf-8") == made, (
        "python tools/make_schema.py"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: str) -> None:
    fields = SCHEMA["$defs"][KINDS[kind].__name__]["properties"]
    assert {name for name, rules in fields.items() if "description" not in rules} == {"kind"}
    common = {field.name for field in msgspec.structs.fields(message.Message)} | {"kind"}
    table = DOCUMENT.split(f"\n`{kind}`:\n")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == [name for name in fields if name not in common]
    every = DOCUMENT.split("\nEvery message:\n")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", every, re.M)) == common


def test_the_example_in_the_document_is_a_message() -> None:
    [example] = re.findall(r"```json\n(.*?)```", DOCUMENT, re.S)
    shown = json.loads(example)
    jsonschema.validate(shown, SCHEMA)
    assert json.loads(encode(decode(example))) == shown


@pytest.mark.parametrize("name", ["mic", "0", "file-3.wav", "10.0.0.7:5004", "call_1@pbx", "x" * 128])
def test_names_of_streams(name: str) -> None:
    assert valid_name(name)
    assert topic(name, "status") == f"v1/{name}/status"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "mic\n", ".hidden", "-x", "é", "a\0", "x" * 129, DAEMON])
def test_names_that_no_stream_can_have(name: str) -> None:
    assert not valid_name(name)


def test_a_subscriber_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, streamcab.feed; print(sorted({'torch', 'numpy', 'scipy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
