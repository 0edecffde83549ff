"""Hostile and damaged input at every door: hypothesis in `make test`, atheris for longer in `make test-all`."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fuzzing
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def damaged(draw: st.DrawFn, seed: bytes) -> bytes:
    """Bytes with some overwritten, a piece put in or taken out, and perhaps cut off."""
    data = bytearray(seed)
    # Headers are at the beginning, and decide.
    place = st.one_of(st.integers(0, min(len(data), 80)), st.integers(0, len(data)))
    for at, what in draw(st.lists(st.tuples(place, st.binary(min_size=1, max_size=8)), max_size=4)):
        data[at : at + len(what)] = what
    if draw(st.booleans()):
        at, n, piece = draw(st.tuples(place, st.integers(0, 64), st.binary(max_size=32)))
        data[at : at + n] = piece
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


numbers = st.one_of(
    st.integers(), st.floats(), st.just(10**400), st.sampled_from([0, -1, 2**31, 2**63, 1e308])
)
words = st.one_of(st.text(max_size=20), st.sampled_from(["", "\x1b[2J", "v1/mic", "\n", "a" * 300, "\ud800"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("suffix", fuzzing.audio_seeds())
@given(data=st.data())
@settings(quick, max_examples=60)
def test_audio_files(suffix: str, data: st.DataObject) -> None:
    fuzzing.audio_file(data.draw(damaged(fuzzing.audio_seeds()[suffix])), suffix)


@given(noise=st.binary(max_size=500), suffix=st.sampled_from(list(fuzzing.audio_seeds())))
@quick
def test_files_of_noise(noise: bytes, suffix: str) -> None:
    fuzzing.audio_file(noise, suffix)


@given(
    data=st.data(),
    seed=st.sampled_from(["wav", "float.wav"]),
    format=st.sampled_from(["wav", "s16le", "f32le"]),
)
@quick
def test_standard_input(data: st.DataObject, seed: str, format: str) -> None:
    fuzzing.standard_input(data.draw(damaged(fuzzing.audio_seeds()[seed])), format)


def options() -> list[str]:
    return [
        (max(p.opts, key=len)).lstrip("-").replace("-", "_") for p in fuzzing.main.commands["listen"].params
    ]


def toml(value: object) -> str:
    """A value as TOML spells it, where it can."""
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "1979-05-27T07:32:00Z"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case str():
            return json.dumps(value.encode("utf-8", "replace").decode())
        case _:
            return str(value)


@given(table=st.dictionaries(st.sampled_from(options()), values, max_size=4))
@settings(quick, max_examples=300)
def test_settings_of_any_value(table: dict[str, Any]) -> None:
    fuzzing.settings("\n".join(f"{key} = {toml(value)}" for key, value in table.items()).encode())


@given(data=st.data())
@quick
def test_settings_of_any_text(data: st.DataObject) -> None:
    seed = Path(__file__).parents[1] / "configs" / "listen.toml"
    fuzzing.settings(data.draw(st.one_of(damaged(seed.read_bytes()), st.binary(max_size=100))))


@given(data=st.data())
@quick
def test_checkpoints(data: st.DataObject) -> None:
    fuzzing.checkpoint_file(data.draw(damaged(fuzzing.checkpoint_seed())))


@given(data=st.data())
@quick
def test_checkpoints_with_any_metadata(data: st.DataObject) -> None:
    def change(header: dict[str, Any]) -> None:
        inside = json.loads(header["__metadata__"]["streamcab"])
        inside.pop("digest", None)
        table = data.draw(st.sampled_from([inside, inside["architecture"], inside["card"]]))
        key = data.draw(st.one_of(st.sampled_from(sorted(table) or [""]), st.text(max_size=5)))
        table[key] = data.draw(values)
        header["__metadata__"]["streamcab"] = json.dumps(inside)

    fuzzing.checkpoint_file(fuzzing.with_header(fuzzing.checkpoint_seed(), change))


@given(data=st.data())
@settings(quick, max_examples=300)
def test_messages_of_the_feed_with_any_values(data: st.DataObject) -> None:
    readers = fuzzing.Readers()
    try:
        for _ in range(data.draw(st.integers(1, 4))):
            name, fields = data.draw(st.sampled_from(sorted(fuzzing.message_seeds().items())))
            fields = {**fields, "seq": data.draw(st.integers(1, 9))}
            for key in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
                # Mostly of the right type, else nothing gets far.
                old = fields[key]
                kind = {int: numbers, float: numbers, str: words}.get(type(old), values)
                fields[key] = data.draw(st.one_of(kind, values, st.just(old)))
            stream = fields["stream"] if isinstance(fields["stream"], str) else "mic"
            name = f"v1/{stream}/{name.rpartition('/')[2]}"
            readers.frames([name.encode("utf-8", "replace"), json.dumps(fields).encode()])
    finally:
        readers.feed.close()


@given(frames=st.lists(st.binary(max_size=60), max_size=4))
@quick
def test_frames_of_noise(frames: list[bytes]) -> None:
    readers = fuzzing.Readers()
    try:
        readers.frames(frames)
    finally:
        readers.feed.close()


@given(data=st.data(), topic=st.sampled_from(sorted(fuzzing.message_seeds())))
@quick
def test_messages_that_are_damaged(data: st.DataObject, topic: str) -> None:
    body = json.dumps(fuzzing.message_seeds()[topic]).encode()
    fuzzing.feed_message(topic.encode() + b"\n" + data.draw(damaged(body)))


@given(data=st.binary(max_size=2_000))
@quick
def test_datagrams(data: bytes) -> None:
    fuzzing.datagrams(data)


@given(text=st.text(max_size=200))
@quick
def test_sdp_types_and_name_maps(text: str) -> None:
    fuzzing.text(text.encode("utf-8", "replace"))


ATHERIS = """
import sys
from pathlib import Path
import atheris
with atheris.instrument_imports(include=["streamcab"]):
    import fuzzing
name, seconds, corpus = sys.argv[1:]
target, seeds = fuzzing.TARGETS[name]
for number, seed in enumerate(seeds()):
    (Path(corpus) / f"seed-{number}").write_bytes(seed)
atheris.Setup(["fuzz", corpus, f"-max_total_time={seconds}", "-max_len=65536", "-rss_limit_mb=4096"], target)
atheris.Fuzz()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", fuzzing.TARGETS)
def test_atheris_finds_nothing(target: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("no atheris here: pip install atheris (Linux, some versions of Python)")
    seconds = os.environ.get("FUZZ_SECONDS", "20")
    here = Path(__file__).parent
    (tmp_path / "corpus").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ATHERIS, target, seconds, str(tmp_path / "corpus")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{here}:{here.parent}"},
        timeout=float(seconds) + 200,
    )
    assert "Done " in done.stderr, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0
    assert not list(tmp_path.glob("crash-*"))
