"""The view in a real terminal: tmux, a publisher and the loop, each a process; what it draws and leaves."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPT = str(HERE / "test_view_synthetic.py")

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="no terminal without tmux: apt install tmux"),
]


def until(condition, why, seconds=30.0):
    """Wait until `condition` is true, and return what it returned."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (result := condition()):
        assert time.monotonic() < deadline, why() if callable(why) else why
        pause.wait(0.05)
    return result


class Terminal:
    """One window of a tmux server of our own."""

    def __init__(self, folder):
        self.folder = folder
        self.name = f"streamcab-{os.getpid()}-{folder.name}"
        self.pid_file = folder / "pid"
        self.publisher = None
        self.endpoint = f"ipc://{folder}/feed"
        self.env = os.environ | {"TMUX_TMPDIR": str(folder), "PYTHONPATH": str(HERE.parent)}

    def tmux(self, *arguments):
        done = subprocess.run(
            ["tmux", "-L", self.name, *arguments], capture_output=True, text=True, timeout=60, env=self.env
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, arguments, width=80, height=24, tail=""):
        """Run the script in the window; what it ended with is shown after it."""
        self.pid_file.unlink(missing_ok=True)
        command = f"{shlex.join([sys.executable, SCRIPT, *arguments])} {tail}"
        shell = (
            f"trap : INT; {command}; echo ended $?; stty -a | grep -o -e '-*icanon' -e '-*echo '; exec cat"
        )
        environment = ["-e", f"PYTHONPATH={HERE.parent}", "-e", "TERM=xterm-256color"]
        size = ["-x", str(width), "-y", str(height)]
        subprocess.run(
            ["tmux", "-L", self.name, "-f", os.devnull, "new-session", "-d", *size, *environment, shell],
            check=True, timeout=60, env=self.env,
        )  # fmt: skip

    def publish(self, streams=1, hz=5):
        self.publisher = subprocess.Popen(
            [sys.executable, SCRIPT, "publish", self.endpoint, str(streams), str(hz)],
            env=self.env,
        )

    def silence(self):
        if self.publisher is not None:
            self.publisher.kill()
            self.publisher.wait()
            self.publisher = None

    def watch(self, **how):
        self.start(["watch", self.endpoint, str(self.pid_file)], **how)

    def text(self):
        return self.tmux("capture-pane", "-p")

    def sees(self, *words, without=()):
        until(
            lambda: all(w in self.text() for w in words) and not any(w in self.text() for w in without),
            lambda: f"{words} without {without} never came:\n{self.text()}",
        )
        return self.text()

    def flags(self):
        return self.tmux("display", "-p", "#{cursor_flag} #{alternate_on}").strip()

    def is_clean(self, code):
        said = self.sees(f"ended {code}", "icanon\necho")
        assert "-icanon" not in said
        assert "-echo" not in said
        assert self.flags() == "1 0"
        return said

    def close(self):
        self.silence()
        subprocess.run(
            ["tmux", "-L", self.name, "kill-server"], capture_output=True, timeout=60, env=self.env
        )


@pytest.fixture
def terminal():
    with tempfile.TemporaryDirectory(prefix="view") as folder:  # not tmp_path: a socket's name has 107 bytes
        window = Terminal(Path(folder))
        try:
            yield window
        finally:
            window.close()


def test_one_stream_from_start_to_ctrl_c(terminal):
    terminal.watch()
    terminal.sees("waiting for the feed")
    terminal.publish()
    said = terminal.sees("mic", "● live", "australia", "last 30 s", "attention", "level", "voiced", "? keys")
    assert "█" in said
    assert terminal.flags() == "0 1"

    terminal.tmux("resize-window", "-x", "40", "-y", "12")
    said = terminal.sees("● live", "voiced", "australia", without=["overflows"])
    assert max(map(len, said.splitlines())) <= 40
    assert said.splitlines()[-1].strip().endswith("quit")

    terminal.silence()
    terminal.sees("feed quiet for")
    terminal.publish()
    terminal.sees("● live", without=["feed quiet"])

    terminal.tmux("send-keys", "C-c")
    said = terminal.is_clean(0)
    assert "stream" in said
    assert "accent" in said


def test_a_fleet_and_its_keys(terminal):
    terminal.publish(streams=30)
    terminal.watch()
    terminal.sees("30 streams", "not shown", "sorted by newest")
    terminal.tmux("send-keys", "s", "s", "s", "s")
    terminal.sees("call-0000", "sorted by name")
    terminal.tmux("send-keys", "j", "Down")
    terminal.sees("▸ call-0002")
    terminal.tmux("send-keys", "Enter")
    terminal.sees("call-0002", "attention", without=["call-0003"])
    terminal.tmux("send-keys", "Escape")
    terminal.sees("30 streams", "▸ call-0002")
    terminal.tmux("send-keys", "/", "0", "0", "2", "5")
    terminal.sees("/ 0025", "call-0025", without=["call-0002"])
    terminal.tmux("send-keys", "Escape", "?")
    terminal.sees("Keys", "any key goes back")
    terminal.tmux("send-keys", "x")
    terminal.sees("30 streams", without=["any key goes back"])
    terminal.tmux("send-keys", "q")
    terminal.is_clean(0)


@pytest.mark.parametrize("tail", ["", "< /dev/null"], ids=["keys", "no keys"])
def test_sigterm_leaves_a_clean_terminal(terminal, tail):
    terminal.publish()
    terminal.watch(tail=tail)
    said = terminal.sees("● live", "australia")
    assert ("? keys" in said) == (tail == "")
    os.kill(int(terminal.pid_file.read_text(encoding="utf-8")), signal.SIGTERM)
    terminal.is_clean(143)


def test_an_error_leaves_a_clean_terminal_and_is_seen(terminal):
    terminal.start(["break"])
    assert "RuntimeError: the feed broke" in terminal.is_clean(1)


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(terminal):
    if shutil.which("bash") is None:
        pytest.skip("job control wants bash")
    terminal.publish()
    environment = ["-e", f"PYTHONPATH={HERE.parent}", "-e", "TERM=xterm-256color"]
    settings = terminal.folder / "rc"
    settings.write_text("PS1='ready> '")
    shell = shlex.join(["bash", "--rcfile", str(settings), "-i"])
    window = ["new-session", "-d", "-x", "80", "-y", "24", *environment, shell]
    subprocess.run(
        ["tmux", "-L", terminal.name, "-f", os.devnull, *window], check=True, timeout=60, env=terminal.env
    )
    terminal.sees("ready>")
    command = shlex.join([sys.executable, SCRIPT, "watch", terminal.endpoint, str(terminal.pid_file)])
    terminal.tmux("send-keys", "-l", command)
    terminal.tmux("send-keys", "Enter")
    terminal.sees("● live", "australia")
    terminal.tmux("send-keys", "C-z")
    terminal.sees("Stopped")
    assert terminal.flags() == "1 0"
    terminal.tmux("send-keys", "-l", "fg")
    terminal.tmux("send-keys", "Enter")
    terminal.sees("● live", "australia", without=["Stopped"])
    assert terminal.flags() == "0 1"
    terminal.tmux("send-keys", "q")
    terminal.sees("ready>", without=["● live"])
    assert terminal.flags() == "1 0"


DRAWN, ASCII_DRAWN, LINES = "● live", "* live", "lag"  # what a picture says, and a line


@pytest.mark.parametrize(
    ("environment", "size", "seen", "alternate"),
    [
        ("TERM=xterm", (80, 24), DRAWN, "1"),
        ("NO_COLOR=1 TERM=xterm", (80, 24), DRAWN, "1"),
        ("TERM=xterm", (20, 5), DRAWN, "1"),
        ("TERM=xterm", (1, 1), "", "1"),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 TERM=xterm", (60, 16), ASCII_DRAWN, "1"),
        ("TERM=dumb", (80, 24), LINES, "0"),
        ("TERM=dumb LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0", (20, 5), LINES, "0"),
        ("-u TERM", (80, 24), LINES, "0"),
    ],
)
def test_the_command_in_all_kinds_of_terminals(terminal, environment, size, seen, alternate):
    """A picture in its characters where one can be drawn, else lines; and an end without a trace of either."""
    terminal.publish()
    command = shlex.join([sys.executable, "-m", "streamcab", "watch", terminal.endpoint])
    window = ["new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "-e", f"PYTHONPATH={HERE.parent}"]
    shell = f"env {environment} {command}; echo ended $?; exec cat"
    subprocess.run(
        ["tmux", "-L", terminal.name, "-f", os.devnull, *window, f"trap : INT; {shell}"],
        check=True, timeout=60, env=terminal.env,
    )  # fmt: skip
    until(lambda: terminal.flags()[-1] == alternate and seen in terminal.text(), terminal.text)
    if seen == LINES:
        assert "\x1b" not in terminal.tmux("capture-pane", "-p", "-e")
    elif "NO_COLOR" in environment:
        assert "38;" not in terminal.tmux("capture-pane", "-p", "-e")
    assert "Traceback" not in terminal.tmux("capture-pane", "-p", "-S", "-")
    terminal.tmux("resize-window", "-x", "80", "-y", "24")
    terminal.tmux("send-keys", "C-c")
    assert "Traceback" not in terminal.sees("ended 0")
    assert terminal.flags() == "1 0"
