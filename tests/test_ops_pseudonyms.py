"""Names that are hidden: the same ones for as long as the salt stays, in the feed, the files and the log."""

import logging
import re
from pathlib import Path

import pytest
from patience import PATIENCE_S
from serving import here, running, save_model, serving, until
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.errors import ConfigError
from streamcab.message import Prediction, Status, valid_name
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops.pseudonyms import Pseudonyms
from streamcab.source import Line
from streamcab.source.file import AudioFile

SALT = b"0123456789abcdef"


def line(name: str, **labels: str) -> Line:
    return Line(name, Bank(8000, 1, 8000), 0, "", labels=labels)


def test_a_name_is_the_same_for_one_salt_and_another_for_another() -> None:
    pseudonyms = Pseudonyms(SALT)
    assert pseudonyms.name("alice") == Pseudonyms(SALT).name("alice") != pseudonyms.name("bob")
    assert pseudonyms.name("alice") != Pseudonyms(SALT + b"x").name("alice")
    assert valid_name(pseudonyms.name("alice"))
    assert "alice" not in pseudonyms.name("alice")


def test_addresses_files_and_devices_are_hidden_with_the_name() -> None:
    pseudonyms = Pseudonyms(SALT)
    call = line("alice", codec="PCMU", source="10.0.0.5:4000", ssrc="deadbeef", cname="alice@example.org")
    name = pseudonyms.cover(call)
    said = pseudonyms.of(call, "RTP PCMU from 10.0.0.5:4000 at 192.0.2.1:5004, alice@example.org, deadbeef")
    assert said == f"RTP PCMU from {name} at 192.0.2.1:5004, {name}, {name}"
    file = line("Ann-Lee", file="/calls/Ann Lee.wav")
    assert pseudonyms.of(file, "/calls/Ann Lee.wav: cut off") == f"{pseudonyms.name('Ann-Lee')}: cut off"
    assert "Ann" not in pseudonyms.of(file, "file Ann Lee.wav, 8000 Hz")


def test_the_log_hides_every_stream_and_no_part_of_a_word() -> None:
    pseudonyms = Pseudonyms(SALT)
    mic, alice = pseudonyms.cover(line("mic")), pseudonyms.cover(line("alice", source="[2001:db8::5]:4000"))
    assert pseudonyms.scrub("mic and alice from 2001:db8::5: microphone lost") == (
        f"{mic} and {alice} from {alice}: microphone lost"
    )


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcab.ops.pseudonyms.REMEMBERED", 3)
    pseudonyms = Pseudonyms(SALT)
    for n in range(10):
        pseudonyms.cover(line(f"call-{n}"))
    assert pseudonyms.scrub("call-0 call-9").startswith("call-0 s-")
    assert len(pseudonyms._hidden) == 3


def test_an_installation_makes_its_salt_once_and_for_itself(tmp_path: Path) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path / "state")}
    first = Pseudonyms.load(None, state)
    assert Pseudonyms.load(None, state).name("a") == first.name("a")
    assert (tmp_path / "state/name-salt").stat().st_mode & 0o077 == 0
    assert Pseudonyms.load(None, {"XDG_STATE_HOME": str(tmp_path)}).name("a") != first.name("a")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/name-salt").write_bytes(SALT)
    credential = Pseudonyms.load(None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), **state})
    assert credential.name("a") == Pseudonyms(SALT).name("a")


@pytest.mark.parametrize(("content", "told"), [(None, "No such file"), (b"short\n", "at least 16")])
def test_a_salt_that_is_none_is_told(content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "salt").write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        Pseudonyms.load(tmp_path / "salt")


def test_a_daemon_says_nothing_but_the_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    checkpoint = Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}, "0123456789ab")
    pseudonyms = Pseudonyms(SALT)
    name = pseudonyms.name("ilse-lee")
    file = write_wav(tmp_path / "ilse-lee.wav", talk(3), 8000)
    with serving(checkpoint, [AudioFile(file, "fast")], pseudonyms=pseudonyms) as feed:
        heard = until(feed, lambda m: isinstance(m, Prediction) and m.state == "ended")
    assert {m.stream for m in heard} - {"daemon"} == {name}
    assert next(m.source for m in heard if isinstance(m, Status)).startswith(f"file {name}")
    assert f"{name} begins" in caplog.text
    assert f"{name} ended" in caplog.text
    assert not [m for m in map(repr, heard) if "ilse" in m]
    # What sources say themselves is scrubbed where the log is written: see the command, below.
    assert not [r for r in caplog.records if r.name == "streamcab.daemon" and "ilse" in r.getMessage()]


def test_the_command_hides_names_in_feed_and_log(tmp_path: Path) -> None:
    save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), tmp_path)
    write_wav(tmp_path / "ilse.wav", talk(3), 8000)
    (tmp_path / "salt").write_bytes(SALT)
    words = ("--file", tmp_path / "ilse.wav", "--fast", "--hash-names", "--hash-salt", tmp_path / "salt")
    more = (
        "--model",
        tmp_path / "model.safetensors",
        "--endpoint",
        "tcp://127.0.0.1:*",
        "--log-level",
        "debug",
    )
    with running("listen", *words, *more, "--json") as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    name = Pseudonyms(SALT).name("ilse")
    assert set(re.findall(rb'"stream":"([^"]+)"', output)) == {name.encode()}
    assert f"{name} begins".encode() in errors
    assert b"ilse" not in output + errors


def test_a_short_salt_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(b"short")
    write_wav(tmp_path / "a.wav", talk(1), 8000)
    done = here("listen", "--file", tmp_path / "a.wav", "--hash-names", "--hash-salt", tmp_path / "salt")
    assert done.returncode == 2
    assert b"at least 16" in done.stderr
