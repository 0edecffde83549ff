"""Names and text from anywhere: any bytes as a name, through everything that says it."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S
from serving import ANYWHERE, STREAMCAB, here, run, save_model
from signals import noise, write_wav
from speech import SMALL_STAGES, talk, tiny_model
from streamcab_train.manifest import read_manifest
from streamcab_train.recipe_keys import CorpusKeys

from streamcab.audio.ring import Bank
from streamcab.config.layers import read_toml
from streamcab.errors import AudioError, ConfigError
from streamcab.message import valid_name
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.logs import Log
from streamcab.ops.pseudonyms import Pseudonyms
from streamcab.sinks.webhook import secrets_in
from streamcab.source import Line
from streamcab.source.file import read_audio
from streamcab.source.rtp import _rules
from streamcab.text import as_unicode, opened, printable, printable_lines, read_text, stream_name

NAMES = st.binary(min_size=1, max_size=60).map(os.fsdecode) | st.text(min_size=1, max_size=60)
STEERS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")


@settings(deadline=None)
@given(NAMES)
def test_any_bytes_name_a_stream_and_always_the_same(name: str) -> None:
    made = stream_name(name)
    assert valid_name(made)
    assert made == stream_name(name)
    assert stream_name(made) == made or made.endswith("-2")


@settings(deadline=None)
@given(NAMES)
def test_nothing_that_steers_a_terminal_comes_out(name: str) -> None:
    safe = printable(name)
    assert not STEERS.search(safe)
    safe.encode()
    assert printable(safe) == safe
    assert not STEERS.search(printable_lines(name).replace("\n", ""))
    msgspec.json.encode(as_unicode(name))
    assert as_unicode(as_unicode(name)) == as_unicode(name)
    line = Line("a", Bank(8000, 1, 10), 0, name)
    line.move("ended", name)
    assert not STEERS.search(line.description + line.detail)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("daemon", "daemon-2"),
        ("Anna & Bob, 3", "Anna-Bob-3"),
        ("Müller Straße", "Muller-Strasse"),
        ("Запись звонка", "Zapis-zvonka"),
        ("Κλήση", "Klisi"),
        ("ひらがな", "hiragana"),
        ("통화", "tonghwa"),
        ("録音", "stream-a95b1c"),
        ("通話 7", "7-c848c2"),
        ("emoji 😀", "emoji"),
        ("red\x1b[31m\x07", "red-31m"),
        (os.fsdecode(b"latin\xe9"), "latin-51b4e5"),
        ("", "stream"),
    ],
)
def test_names_are_readable_and_differ(name: str, made: str) -> None:
    assert stream_name(name) == made


def test_joiners_of_emoji_and_scripts_stay() -> None:
    assert printable("👩\u200d💻 می\u200cخواهم") == "👩\u200d💻 می\u200cخواهم"


# --- the commands ----------------------------------------------------------------------------------------------------

UGLY = [
    b"daemon",
    b"latin\xe9",
    "録音".encode(),
    "emoji \U0001f600".encode(),
    b"red\x1b[31m\x07",
    b"two\nlines",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = tiny_model(1, stages=SMALL_STAGES)
    return save_model(Checkpoint(net, {"name": "tiny"}), tmp_path_factory.mktemp("model"))


@pytest.fixture
def named(tmp_path: Path) -> list[Path]:
    sound = write_wav(tmp_path / "a.wav", talk(2), 8000).read_bytes()
    paths = [Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name + b".wav"))) for name in UGLY]
    for path in paths:
        path.write_bytes(sound)
    return paths


def test_classify_says_any_name(named: list[Path], model: Path) -> None:
    done = run("classify", "--model", model, *named)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert len(text.splitlines()) == len(named)
    assert not STEERS.search(text.replace("\n", ""))
    assert [r"latin\xe9.wav" in text, "録音.wav" in text, r"red\x1b[31m\x07.wav" in text] == [True] * 3
    as_json = run("classify", "--json", "--model", model, *named)
    assert as_json.returncode == 0, as_json.stderr
    streams = [json.loads(line)["stream"] for line in as_json.stdout.splitlines()]
    assert streams == [as_unicode(str(path)) for path in named]


def test_a_terminal_that_lacks_letters_gets_question_marks(named: list[Path], model: Path) -> None:
    done = run("classify", "--model", model, *named, env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0, done.stderr
    assert b"emoji ?.wav: " in done.stdout


def test_listen_plays_any_name_and_the_source_tells_the_file(
    named: list[Path], model: Path, tmp_path: Path
) -> None:
    files = [word for path in named for word in ("--file", path)]
    out = tmp_path / "feed.jsonl"
    done = run(
        "listen", "--fast", *files, "--quiet", "--jsonl", out, "--model", model, "--endpoint", ANYWHERE
    )
    assert done.returncode == 0, done.stderr
    told = {
        m["stream"]: m["source"]
        for m in map(json.loads, out.read_text(encoding="utf-8").splitlines())
        if m["kind"] == "status"
    }
    assert set(told) == {"daemon-2", "latin-51b4e5", "stream-a95b1c", "emoji", "red-31m", "two-lines"}
    assert told["stream-a95b1c"].startswith("file 録音.wav, 8000 Hz")
    assert told["red-31m"].startswith(r"file red\x1b[31m\x07.wav")


@pytest.mark.parametrize("name", [b"missing\x1b[31m.wav", b"--\x1b[31m", b"bad\xff.wav"])
def test_an_error_names_a_name_safely(name: bytes, model: Path) -> None:
    done = run("classify", "--model", model, os.fsdecode(name))
    assert done.returncode in (1, 2)
    assert not STEERS.search(done.stderr.decode().replace("\n", ""))


FULL = [
    ("--help",),
    ("--version",),
    ("listen", "--help"),
    ("classify", "{file}", "--model", "{model}"),
    ("classify", "--json", "{file}", "--model", "{model}"),
    ("verify", "{file}", "--model", "{model}"),
    ("doctor",),
]


@pytest.mark.parametrize("words", FULL, ids=lambda words: " ".join(words[:2]))
def test_a_full_disk_under_the_output_is_one_line_and_code_1(
    words: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    file = write_wav(tmp_path / "a.wav", talk(2), 8000)
    told = [word.format(file=file, model=model, folder=tmp_path) for word in words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "streamcab", *told], stdout=full, stderr=subprocess.PIPE, timeout=120
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["Error: cannot write the output: No space left on device"]


@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_closed_streams_are_nothing_and_no_file_takes_their_place(
    closed: str, model: Path, tmp_path: Path
) -> None:
    file = write_wav(tmp_path / "a.wav", talk(2), 8000)
    for words in ("--version", "config show", f"classify {file} --model {model}"):
        close = " ".join(f"{n}{'<' if n == '0' else '>'}&-" for n in closed.split())
        line = f"exec {sys.executable} -m streamcab {words} {close}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, b""), words
    answers = tmp_path / "answers.csv"
    line = f"exec {sys.executable} -m streamcab classify {file} --model {model} --out {answers} {close}"
    assert subprocess.run(["sh", "-c", line], capture_output=True, timeout=120).returncode == 0
    assert len(answers.read_text(encoding="utf-8").splitlines()) == 2, "the table alone is in its file"


# --- pipes -----------------------------------------------------------------------------------------------------------


def test_a_pipe_and_a_dash_are_files(tmp_path: Path, model: Path) -> None:
    file = write_wav(tmp_path / "a.wav", talk(2), 8000)
    flac = write_wav(tmp_path / "a.flac", talk(2), 8000)
    want = json.loads(here("classify", "--json", "--model", model, file).stdout)["probs"]
    for name, data in (("-", flac.read_bytes()), ("/dev/stdin", file.read_bytes())):
        done = run("classify", "--json", "--model", model, name, stdin=data)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["probs"] == pytest.approx(want, abs=1e-4)
    with file.open("rb") as behind:  # a redirection is no pipe
        words = [*STREAMCAB, "classify", "--json", "--model", str(model), "-"]
        done = subprocess.run(words, stdin=behind, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["probs"] == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_named_pipe_is_read_to_its_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    sound = talk(3)
    soundfile.write(path, sound, 8000)
    with subprocess.Popen(["cp", "--", path, "/dev/stdout"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        got, rate = read_audio(f"/proc/self/fd/{writer.stdout.fileno()}")
    want, _ = read_audio(path)
    assert rate == 8000
    np.testing.assert_array_equal(got, want)


def test_what_comes_through_a_pipe_and_is_no_audio_is_called_as_the_user_does() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"no audio " * 100)
    os.close(writing)
    try:
        with pytest.raises(AudioError, match=f"^/proc/self/fd/{reading}: not audio"):
            read_audio(f"/proc/self/fd/{reading}")
    finally:
        os.close(reading)


def test_listen_tells_what_to_type_for_a_pipe(model: Path) -> None:
    done = run("listen", "--file", "-", "--model", model, "--endpoint", ANYWHERE)
    assert done.returncode == 1
    assert "listen --stdin wav" in done.stderr.decode()


# --- byte order marks ------------------------------------------------------------------------------------------------

MARKS = {
    "none": ("utf-8", b""),
    "utf-8": ("utf-8", b"\xef\xbb\xbf"),
    "utf-16": ("utf-16-le", b"\xff\xfe"),
    "be": ("utf-16-be", b"\xfe\xff"),
}


@pytest.mark.parametrize("mark", MARKS)
def test_a_byte_order_mark_is_read_in_every_file_of_the_users(tmp_path: Path, mark: str) -> None:
    encoding, head = MARKS[mark]

    def put(name: str, text: str) -> Path:
        (tmp_path / name).write_bytes(head + text.replace("\n", "\r\n").encode(encoding))
        return tmp_path / name

    assert read_toml(put("a.toml", "every = 1.0\n"), "configuration") == {"every": 1.0}
    assert [rule.name for rule in _rules(put("names.csv", "127.0.0.1,*,b0,four\n"))] == ["four"]
    for name in ("x.wav", "y.wav"):
        write_wav(tmp_path / name, noise(0.1, 8000), 8000)
    manifest = put("m.csv", "path,accent,speaker\nx.wav,us,a\ny.wav,uk,ü\n")
    read = read_manifest(manifest, CorpusKeys(label="accent"))
    assert [clip.speaker for clip in read.clips] == ["a", "ü"]
    assert read_text(put("t", "one\ntwo")) == "one\ntwo"


def test_a_file_without_an_end_is_refused() -> None:
    read: list[Callable[[], object]] = [
        *(lambda: read_toml(Path("/dev/zero"), "configuration"), lambda: _rules(Path("/dev/zero"))),
        *(lambda: Pseudonyms.load(Path("/dev/zero")), lambda: secrets_in(Path("/dev/zero"))),
    ]
    for one in read:
        with pytest.raises(ConfigError, match="File too large"):
            one()


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    (tmp_path / "secret").write_text(f"{secret}\n", encoding="utf-8-sig")
    assert secrets_in(tmp_path / "secret") == [secret.encode()]


def test_what_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xffevery = 1")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_toml(tmp_path / "a.toml", "configuration")
    with pytest.raises(UnicodeDecodeError):
        opened(tmp_path / "a.toml")


def test_the_log_writes_no_codes(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.emit(logging.LogRecord("x", logging.WARNING, "", 0, "%s: bad", ("a\x1b[2J\udce9",), None))
    log.close()
    assert capsys.readouterr().err.endswith("a\\x1b[2J\\xe9: bad\n")
