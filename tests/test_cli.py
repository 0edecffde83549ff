"""The command line as a user meets it: real processes, their output, their exit codes, one line for every mistake."""

import json
import os
import struct
import sys

import numpy as np
import pytest
import soundfile
from patience import PATIENCE_S
from ports import free_port
from serving import ANYWHERE, here, run, running, save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.classifier import load
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import read_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {"name": "tiny"}), folder)
    write_wav(folder / "talk.wav", talk(5, 16000), 16000)
    write_wav(folder / "silence.wav", np.zeros(16000), 16000)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return folder / "model.safetensors"


def one_line(done, code, *words):
    """The process ended with `code` and one line on stderr that holds `words`, and no traceback."""
    error = done.stderr.decode()
    assert done.returncode == code, error
    assert "Traceback" not in error
    message = error[error.index("Error: ") :]
    assert message.strip().count("\n") == 0, error
    for word in words:
        assert str(word) in message
    return message


def test_classify_answers_each_file(folder, model):
    done = run("classify", "--model", model, folder / "talk.wav", folder / "silence.wav")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    answer = load(model).classify(*read_audio(folder / "talk.wav"))
    assert f": {answer.top}  (" in lines[0]
    assert f"{answer.voiced_s:.1f} s voiced" in lines[0]
    assert lines[1].endswith("no speech")


def wav_header(size):
    head = struct.pack("<4sI8sIHHIIHH", b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16)
    return head + struct.pack("<4sI", b"data", size)


@pytest.mark.parametrize(
    ("data", "code", "why"),
    [
        (wav_header(0), 1, "stdin: no samples arrived"),
        (wav_header(16_000), 1, "stdin: no samples arrived"),
        (wav_header(16_000)[:30], 1, "stdin: the WAV stream ends inside its header"),
    ],
)
def test_standard_input_that_fails_is_a_failure_of_the_command(model, tmp_path, data, code, why):
    log = ("--log-file", tmp_path / "log")
    done = run(
        "listen", "--quiet", "--stdin", "wav", "--model", model, "--endpoint", ANYWHERE, *log, stdin=data
    )
    one_line(done, code, why)


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_what_broke_off_is_heard_with_one_warning(model, tmp_path, way):
    sound = (talk(3) * 32768).astype("<i2").tobytes()
    (tmp_path / "cut.wav").write_bytes(wav_header(96_000) + sound)
    words = ("--file", tmp_path / "cut.wav", "--fast") if way == "file" else ("--stdin", "wav")
    data = (tmp_path / "cut.wav").read_bytes()
    done = run("listen", "--json", *words, "--model", model, "--endpoint", ANYWHERE, stdin=data)
    assert done.returncode == 0
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith("ended: cut off after 3.00 s of 6.00 s; what is there is heard")
    last = json.loads(done.stdout.splitlines()[-1])
    offline = run("classify", "--json", "--model", model, tmp_path / "cut.wav")
    assert offline.returncode == 0
    assert offline.stderr.decode() == (
        f"Warning: {tmp_path / 'cut.wav'}: cut off after 3.00 s of 6.00 s; what is there is heard\n"
    )
    assert last["probs"] == pytest.approx(json.loads(offline.stdout)["probs"], abs=1e-5)


def test_a_file_that_fails_does_not_hide_behind_one_that_does_not(folder, model, tmp_path):
    for name, rate in (("a.mp3", 8000), ("b.mp3", 16000)):
        soundfile.write(tmp_path / name, talk(12, rate), rate)
    both = tmp_path / "both.mp3"
    both.write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    files = ("--file", folder / "talk.wav", "--file", both, "--fast")
    done = here("listen", "--json", *files, "--model", model, "--endpoint", ANYWHERE)
    one_line(done, 75, "both.mp3: after 12", "goes on at 16000 Hz")
    last = {m["stream"]: m["state"] for m in map(json.loads, done.stdout.splitlines())}
    assert last == {"talk": "ended", "both": "ended"}


def test_classify_as_json_is_a_message_of_the_feed(folder, model):
    done = here("classify", "--json", "--model", model, folder / "talk.wav")
    answer = json.loads(done.stdout)
    assert answer["probs"] == pytest.approx(load(model).classify(*read_audio(folder / "talk.wav")).probs)
    assert answer["state"] == "ended"


def test_classify_goes_on_after_a_bad_file(folder, model):
    done = here("classify", "--model", model, folder / "missing.wav", folder / "talk.wav")
    one_line(done, 1, "missing.wav")
    assert "talk.wav: " in done.stdout.decode()


def test_verify_shows_that_streaming_is_exact(folder, model):
    done = here("verify", "--model", model, folder / "talk.wav")
    assert done.returncode == 0, done.stderr
    assert "(equal within 1e-05)" in done.stdout.decode()


def test_verify_refuses_a_clip_model_and_says_how_to_train_a_live_one(folder, tmp_path):
    clip = save_model(Checkpoint(tiny_model(stages=SMALL_STAGES, normaliser="clip")), tmp_path)
    one_line(here("verify", "--model", clip, folder / "talk.wav"), 2, "configs/live.toml")
    one_line(here("listen", "--model", clip, "--file", folder / "talk.wav"), 2, "configs/live.toml")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"this is text, not audio" * 100, "audio"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", ""),
    ],
)
def test_a_file_that_is_no_audio_is_one_line(folder, model, tmp_path, content, word):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(content)
    for command in (["classify", bad], ["verify", bad], ["listen", "--endpoint", ANYWHERE, "--file", bad]):
        one_line(here(command[0], "--model", model, *command[1:]), 1, "bad.wav", word)


def test_samples_that_are_no_numbers_are_one_line(model, tmp_path):
    bad = np.zeros(8000, np.float32)
    bad[100] = np.nan
    write_wav(tmp_path / "nan.wav", bad, 8000, "FLOAT")
    one_line(here("classify", "--model", model, tmp_path / "nan.wav"), 1, "nan.wav", "nan")


def test_audio_shorter_than_an_interval_is_one_line(model, tmp_path):
    write_wav(tmp_path / "short.wav", np.zeros(100), 8000)
    one_line(here("classify", "--model", model, tmp_path / "short.wav"), 1, "short.wav", "25 ms")


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign", "folder"])
def test_a_checkpoint_that_is_none_is_one_line(folder, model, tmp_path, damage):
    bad = tmp_path / "bad.safetensors"
    if damage == "truncated":
        bad.write_bytes(model.read_bytes()[:5000])
    elif damage == "foreign":
        bad.write_bytes(b"PK\x03\x04" * 100)
    elif damage == "folder":
        bad.mkdir()
    one_line(here("classify", "--model", bad, folder / "talk.wav"), 1, "bad.safetensors")


def test_a_port_that_is_taken_is_one_line(folder, model):
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    words = ("listen", "--model", model, "--file", folder / "talk.wav", "--endpoint", endpoint)
    with running(*words, "--loop") as first:
        assert first.stdout.readline()
        one_line(run(*words), 1, endpoint)


def test_a_feed_that_others_could_read_is_refused(folder, model):
    done = here("listen", "--model", model, "--file", folder / "talk.wav", "--endpoint", "tcp://0.0.0.0:5557")
    one_line(done, 1, "0.0.0.0")


def test_wrong_words_end_with_two(folder, model):
    assert here("listen").returncode == 2
    assert b"No source: add" in here("listen").stderr
    assert here("listen", "--file", "a.wav", "--every", "0").returncode == 2
    assert here("listen", "--stdin", "s16le", "--model", model).returncode == 2
    assert here("nonsense").returncode == 2
    one_line(here("classify", "--model", model, "--channel", "right", folder / "talk.wav"), 1, "right")
    one_line(here("classify", "--model", model, "--compute", "tpu", folder / "talk.wav"), 2, "tpu", "cuda")


def test_command_line_lies_above_environment_above_file_above_default(folder, model, tmp_path):
    config = tmp_path / "listen.toml"
    config.write_text(
        f'model = "{model}"\nfile = ["{folder / "talk.wav"}"]\nfast = true\nwindow = 1.0\nendpoint = "tcp://127.0.0.1:*"\n'
    )

    def window(*words, **env):
        done = here("listen", "--json", "--config", config, *words, env=env)
        assert done.returncode == 0, done.stderr
        return max(json.loads(line)["window_s"] for line in done.stdout.splitlines())

    assert window() == 1.0
    assert window(STREAMCAB_WINDOW="2.0") == 2.0
    assert window("--window", "3.0", STREAMCAB_WINDOW="2.0") == 3.0


def test_a_key_that_nobody_knows_is_an_error_with_the_nearest(folder, model, tmp_path):
    config = tmp_path / "listen.toml"
    config.write_text("windwo = 3\n")
    one_line(here("listen", "--config", config), 2, "windwo", "did you mean window?")
    one_line(here("devices", env={"STREAMCAB_WINDWO": "3"}), 2, "STREAMCAB_WINDOW?")
    config.write_text("window = [")
    one_line(here("listen", "--config", config), 2, "TOML")
    one_line(here("listen", "--config", tmp_path / "none.toml"), 2, "none.toml")
    config.write_text('window = "wide"\n')
    assert b"wide" in here("listen", "--config", config).stderr


def test_standard_input_raw_and_wav_give_the_same_answer(folder, model):
    wav = (folder / "talk.wav").read_bytes()
    raw = (read_audio(folder / "talk.wav")[0] * 32768).astype("<i2").tobytes()
    words = ("listen", "--json", "--model", model, "--endpoint", "tcp://127.0.0.1:*")
    one = run(*words, "--stdin", "wav", stdin=wav)
    two = run(*words, "--stdin", "s16le", "--rate", "16000", stdin=raw)
    last = [json.loads(d.stdout.splitlines()[-1]) for d in (one, two)]
    assert last[0]["state"] == last[1]["state"] == "ended"
    assert last[0]["probs"] == pytest.approx(last[1]["probs"], abs=1e-5)
    offline = load(model).classify(*read_audio(folder / "talk.wav"))
    assert last[0]["probs"] == pytest.approx(offline.probs, abs=1e-5)


def looped(folder, model):
    """A file without an end, as lines of JSON."""
    feed = ("--endpoint", "tcp://127.0.0.1:*")
    return ("listen", "--json", "--loop", "--model", model, "--file", folder / "talk.wav", *feed)


def test_every_message_on_a_pipe_is_a_line_and_a_reader_that_leaves_is_no_error(folder, model):
    with running(*looped(folder, model)) as daemon:
        seqs = [json.loads(daemon.stdout.readline())["seq"] for _ in range(12)]
        assert seqs == list(range(seqs[0], seqs[0] + 12))
        daemon.stdout.close()
        daemon.stdout = open(os.devnull, "rb")  # noqa: SIM115 - for communicate()
        assert daemon.wait(PATIENCE_S) == 0
        assert b"Traceback" not in daemon.stderr.read()


@pytest.mark.parametrize("how", ["INT", "TERM"])
def test_a_signal_ends_the_daemon_with_its_last_words_and_zero(folder, model, how):
    import signal

    with running(*looped(folder, model)) as daemon:
        assert daemon.stdout.readline()
        daemon.send_signal(getattr(signal, f"SIG{how}"))
        out, err = daemon.communicate(timeout=PATIENCE_S)
        assert daemon.returncode == 0, err
        assert json.loads(out.splitlines()[-1])["state"] == "ended"


def test_help_and_watch_start_without_torch():
    probe = (
        "import sys, click.testing\n"
        "from streamcab.cli import main\n"
        "for words in (['--help'], ['listen', '--help'], ['watch', '--help']):\n"
        "    assert click.testing.CliRunner().invoke(main, words).exit_code == 0\n"
        "import streamcab.daemon.session, streamcab.view, streamcab.feed\n"
        "heavy = {'torch', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
