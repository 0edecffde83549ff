"""With `--hash-names` nothing that a daemon writes anywhere tells whose streams it hears: sources good and failing."""

import itertools
import logging
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest
import soundfile
from patience import PATIENCE_S, until
from ports import free_port
from rtp_peer import packet, sdes
from serving import here, running, save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.feed import Subscriber
from streamcab.message import AnyMessage, encode
from streamcab.nn.checkpoint import Checkpoint
from streamcab.ops import logs
from streamcab.ops.pseudonyms import Pseudonyms
from streamcab.source import Line

SECRET = "zaphod"
NAMES = (
    f"{SECRET}.wav",
    f"Tel. 49 {SECRET}.wav",
    f'{SECRET} "the boss".wav',
    f"{SECRET}'s \\ call.wav",
    f"é{SECRET}.wav",
)
UNREADABLE = os.fsdecode(f"{SECRET}\udcff.wav".encode(errors="surrogateescape"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(
        Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), tmp_path_factory.mktemp("model")
    )


def words(model: Path, folder: Path, *more: str | Path) -> tuple[str | Path, ...]:
    (folder / "salt").write_bytes(b"0123456789abcdef")
    hidden = ("--hash-names", "--hash-salt", folder / "salt", "--log-level", "debug")
    return (
        "listen",
        "--model",
        model,
        "--backend",
        "torch",
        "--endpoint",
        "tcp://127.0.0.1:*",
        *hidden,
        *more,
    )


def clean(*said: bytes) -> None:
    for one in said:
        assert SECRET.encode() not in one.lower(), one.decode(errors="replace")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", [*NAMES, UNREADABLE], ids=[*NAMES, "unreadable"])
def test_a_file_that_cannot_be_heard(form: str, name: str, model: Path, tmp_path: Path) -> None:
    missing, empty = tmp_path / f"no {name}", tmp_path / name
    empty.touch()
    for file, told in ((missing, b"no such file"), (empty, b"is empty")):
        done = here(*words(model, tmp_path, "--file", file, "--log-format", form))
        assert done.returncode == 1
        assert told in done.stderr
        clean(done.stdout, done.stderr)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", [*NAMES, UNREADABLE], ids=[*NAMES, "unreadable"])
def test_a_file_that_breaks_off_while_it_is_heard(form: str, name: str, model: Path, tmp_path: Path) -> None:
    whole = write_wav(tmp_path / "whole.wav", talk(3), 8000)
    file = tmp_path / Path(name).with_suffix(".flac")
    soundfile.write(tmp_path / "whole.flac", soundfile.read(whole)[0], 8000)
    file.write_bytes((tmp_path / "whole.flac").read_bytes()[:20_000])
    done = here(*words(model, tmp_path, "--file", file, "--fast", "--json", "--log-format", form))
    assert done.returncode == 0
    assert b"cut off or damaged" in done.stderr
    assert b'"s-' in done.stdout
    clean(done.stdout, done.stderr)


def test_a_file_that_has_gone_when_it_begins_again(model: Path, tmp_path: Path) -> None:
    file = write_wav(tmp_path / NAMES[1], talk(3), 8000)
    with running(*words(model, tmp_path, "--file", file, "--loop", "--json")) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        file.unlink()
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75
    assert b"no such file" in errors
    clean(said, output, errors)


def test_a_microphone_that_is_not_there(model: Path, tmp_path: Path) -> None:
    done = here(*words(model, tmp_path, "--device", f"{SECRET}'s microphone"))
    assert done.returncode == 1
    assert b"microphone" in done.stderr
    clean(done.stderr)


def test_a_wrong_line_of_the_name_map(model: Path, tmp_path: Path) -> None:
    for line, told in ((f"*,*,*,{SECRET} & co", b"cannot name"), (f"{SECRET}.example,*,*,a", b"not appear")):
        (tmp_path / "map.csv").write_text(f"{line}\n")
        done = here(*words(model, tmp_path, "--rtp", "127.0.0.1:0", "--name-map", tmp_path / "map.csv"))
        assert done.returncode == 2
        assert told in done.stderr
        clean(done.stderr)


def test_an_error_inside_streamcab(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_wav(tmp_path / NAMES[0], talk(1), 8000)

    def broken(path: Path) -> None:
        raise ZeroDivisionError(f"while {path} was read")

    monkeypatch.setattr("streamcab.source.file.open_audio", broken)
    done = here(*words(model, tmp_path, "--file", file))
    assert done.returncode == 1
    assert b"ZeroDivisionError: while s-" in done.stderr
    clean(done.stderr)


@pytest.mark.parametrize("form", ["text", "journal", "json"])
def test_what_a_source_says_before_anybody_knows_of_its_stream(form: logs.Form, tmp_path: Path) -> None:
    pseudonyms, journal = Pseudonyms(b"0123456789abcdef"), logs.Log(form, tmp_path / "log")
    journal.learn, journal.scrub = pseudonyms.learn, pseudonyms.scrub
    root = logging.getLogger()
    root.addHandler(journal)
    try:
        for n in range(logs.BURST + 50):
            device = f'{SECRET} {n} "the boss" (hw:{n},0)'
            line = Line(f"{SECRET}{n}", Bank(8000, 1, 8000), 0, "", labels={"device": device})
            line.move("lost", f"the microphone {device!r} or {device} is gone")
            line.move("ended", device.partition(" (")[0])
    finally:
        root.removeHandler(journal)
        journal.close()
    written = (tmp_path / "log").read_bytes()
    assert written.count(b"\n") >= logs.BURST
    clean(written)


def test_a_day_of_a_service(model: Path, tmp_path: Path) -> None:
    """A file and calls; one has a name from the map, one a CNAME, one is refused; SIGHUP, recordings, SIGTERM."""
    file = write_wav(tmp_path / NAMES[1], talk(3), 8000)
    (tmp_path / "map.csv").write_text(f"*,*,1,{SECRET}\n")
    port = free_port(3)
    feed_at = f"tcp://127.0.0.1:{port + 2}"
    more = ["--file", file, "--loop", "--rtp", f"127.0.0.1:{port}", "--name-map", tmp_path / "map.csv"]
    more += [
        "--endpoint",
        feed_at,
        "--quiet",
        "--max-streams",
        "3",
        "--log-file",
        tmp_path / "log",
        "--idle",
        "1",
    ]
    more += ["--record", tmp_path / "audio", "--record-min-free-gb", "0", "--jsonl", tmp_path / "feed.jsonl"]
    told: list[bytes] = []
    over = threading.Event()
    heard: list[AnyMessage] = []

    def call() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n in itertools.count():
                for ssrc in range(1, 6):
                    sock.sendto(packet(n, n * 160, bytes(160), ssrc=ssrc), ("127.0.0.1", port))
                    sock.sendto(sdes(ssrc, f"{SECRET}{ssrc}@example.org".encode()), ("127.0.0.1", port + 1))
                if over.wait(0.02):
                    return

    log = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, Subscriber(feed_at) as feed:
        listener.bind(f"\0{tmp_path.name}-{port}")
        listener.settimeout(0.0)

        def listened() -> bool:
            heard.extend(feed.drain())
            while True:
                try:
                    told.append(listener.recv(4096))
                except BlockingIOError:
                    return True

        def logged(text: str) -> bool:
            return listened() and text in log.read_text(encoding="utf-8")

        env = {"NOTIFY_SOCKET": f"@{tmp_path.name}-{port}"}
        with running(*words(model, tmp_path, *more), env=env) as process:
            until(lambda: listened() and any(b"READY=1" in one for one in told))
            thread = threading.Thread(target=call)
            thread.start()
            try:
                until(lambda: logged(" are not heard: "))
                (tmp_path / "map.csv").write_text(f"*,*,2,no {SECRET}\n")
                process.send_signal(signal.SIGHUP)
                until(lambda: logged("settings not changed"))
            finally:
                over.set()
                thread.join()
            until(lambda: logged("was recorded"))
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=PATIENCE_S)
        listened()
    assert process.returncode == 0
    names = {m.stream for m in heard} - {"daemon"}
    assert len(names) >= 3
    assert all(re.fullmatch(r"s-[0-9a-f]{12}(-\d+)?", name) for name in names)
    recorded = [*(tmp_path / "audio").iterdir()]
    assert recorded
    clean(
        output, errors, *told, *map(encode, heard), *(os.fsencode(f.name) + f.read_bytes() for f in recorded)
    )
    clean(log.read_bytes(), (tmp_path / "feed.jsonl").read_bytes())
    metrics = pytest.importorskip("streamcab.health.metrics", reason="pip install 'streamcab[health]'")
    ledger = metrics.Ledger()
    ledger.take(heard, 0.0)
    clean(repr(list(ledger.families(0.0))).encode())
