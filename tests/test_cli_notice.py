"""The line that a terminal shows while a model loads: at once, and gone before anything else is said."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from streamcab.cli.notice import ERASE

CLIP = Path(__file__).parents[1] / "streamcab" / "clips" / "uk-1.ogg"


def on_a_terminal(*arguments: str, term: str = "xterm") -> str:
    """All that a command writes to a terminal that is its standard error."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "streamcab", *arguments]
    env = os.environ | {"TERM": term}
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env=env
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # Linux ends a terminal so
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return said.decode()


@pytest.mark.parametrize(
    "words",
    [
        ["classify", str(CLIP)],
        ["verify", str(CLIP)],
        ["listen", "--file", str(CLIP), "--fast", "--json", "--endpoint", "tcp://127.0.0.1:*"],
    ],
    ids=lambda words: words[0],
)
def test_it_comes_first_and_goes(words: list[str]) -> None:
    assert on_a_terminal(*words) == f"loading model ...{ERASE}"


def test_it_goes_before_an_error() -> None:
    said = on_a_terminal("classify", "--model", "/none/model", str(CLIP))
    assert said.startswith(f"loading model ...{ERASE}Error: cannot read the checkpoint")


@pytest.mark.parametrize(
    ("words", "term"),
    [(["classify", str(CLIP)], "dumb"), (["listen", "--quiet", "--file", "/none/clip.wav"], "xterm")],
)
def test_a_terminal_that_cannot_erase_and_a_quiet_command_say_nothing_of_it(
    words: list[str], term: str
) -> None:
    assert "loading" not in on_a_terminal(*words, term=term)


def test_nothing_heavy_is_imported_before_it() -> None:
    code = """
import sys
from streamcab.cli import main
def said():
    print(*sys.modules, file=sys.stderr)
    raise SystemExit(7)
for name, module in list(sys.modules.items()):
    if name.startswith("streamcab.cli.") and hasattr(module, "loading"):
        module.loading = said
main()
"""
    for words in (["listen", "--file", str(CLIP)], ["classify", str(CLIP)]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 7, done.stderr
        assert not {"numpy", "zmq", "rich", "openvino", "torch"} & set(done.stderr.split())
