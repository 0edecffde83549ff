"""What streamcab is made of, and that it asks nobody: exact versions of everything, and no network at run time."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from serving import save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.nn.checkpoint import Checkpoint

ROOT = Path(__file__).parents[1]
PINS = dict(
    re.findall(r"^([a-z0-9-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
)


def needed() -> dict[str, str]:
    """Everything that streamcab and its extras need here, and theirs, with the versions that are installed."""
    spec = importlib.util.spec_from_file_location("freeze", ROOT / "tools" / "freeze.py")
    assert spec is not None
    assert spec.loader is not None
    freeze = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(freeze)
    found: dict[str, str] = {}
    extras = {"torch", "codecs", "health", "web", "store", "postgres", "redis", "nats", "otel", "dev"}
    freeze.closure("streamcab", extras, found)
    # What only a CUDA build of torch brings: it names exact versions of them itself.
    return {name: v for name, v in found.items() if not re.match(r"nvidia-|cuda-|triton", name)}


def test_every_package_has_an_exact_version_those_that_others_bring_too() -> None:
    found = needed()
    assert len(found) > 40
    assert sorted(found.keys() - PINS.keys()) == [], "python tools/freeze.py > constraints.txt"
    assert sorted(PINS.keys() - found.keys()) == [], "python tools/freeze.py > constraints.txt"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [f"{n}=={v}" for n, v in PINS.items()]


def test_torch_is_the_pinned_version_which_lies_in_the_range_of_the_project() -> None:
    assert version("torch").partition("+")[0] == PINS["torch"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    (torch,) = [need for need in map(Requirement, extras["torch"]) if need.name == "torch"]
    assert torch.specifier.contains(PINS["torch"])


ALONE = """\
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
out = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        os.write(out, f"{event} {args[0]}\\n".encode())
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        os.write(out, f"{event} {args[1][0]}\\n".encode())
sys.addaudithook(hook)
if sys.argv[2] == "-c":
    exec(sys.argv[3])
else:
    sys.argv = ["streamcab", *sys.argv[2:]]
    from streamcab.cli import main
    main()
"""
"""Runs a command with loopback alone, and notes each name and address that Python is asked for."""


def alone(tmp_path: Path, *words: str | Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """A command in an empty network namespace, and whom it wanted to reach."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: apt install util-linux")
    enter = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    tried = subprocess.run([*enter, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no network namespace may be made here: {tried.stderr.strip()}")
    asked = tmp_path / "asked"
    done = subprocess.run(
        [*enter, sys.executable, "-c", ALONE, asked, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    return done, asked.read_text(encoding="utf-8") if asked.exists() else done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("supply")
    save_model(Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}), folder)
    write_wav(folder / "talk.wav", talk(4).astype(np.float32), 8000)
    return folder


def test_who_asks_for_the_network_would_be_seen(tmp_path: Path) -> None:
    code = "import urllib.request as r\ntry: r.urlopen('http://example.org')\nexcept OSError as e: print(e)"
    done, asked = alone(tmp_path, "-c", code)
    assert done.returncode == 0
    assert "resolution" in done.stdout
    assert "getaddrinfo example.org" in asked


@pytest.mark.parametrize("bundled", [True, False], ids=["bundled", "own"])
def test_classify_asks_nobody(folder: Path, tmp_path: Path, bundled: bool) -> None:
    model = () if bundled else ("--model", folder / "model.safetensors")
    done, asked = alone(tmp_path, "classify", "--json", *model, folder / "talk.wav")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"]
    assert asked == ""


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_listen_asks_nobody(folder: Path, tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="pip install streamcab")
    words = ("--file", folder / "talk.wav", "--fast", "--model", folder / "model.safetensors", "--json")
    done, asked = alone(tmp_path, "listen", *words, "--backend", backend, "--endpoint", "tcp://127.0.0.1:*")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "ended"
    assert asked == ""
