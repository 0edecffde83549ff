"""Missing packages: each names the line that installs it, and that line is one that pyproject.toml knows."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from streamcab.extras import BASE, EXTRAS, line_for

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTION = {
    "zmq": "pyzmq",
    "prometheus_client": "prometheus-client",
    "paho": "paho-mqtt",
    "nats": "nats-py",
    "opentelemetry": "opentelemetry-sdk",
}


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", text).group() for text in requirements}  # type: ignore[union-attr]


def run(*arguments: str, without: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """A command in a Python that lacks some packages."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r})); from streamcab.cli import main; main()"
    )
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def test_the_base_is_what_pyproject_installs() -> None:
    assert {DISTRIBUTION.get(name, name) for name in BASE} == names(PROJECT["dependencies"])


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_an_extra_holds_its_package(package: str, extra: str) -> None:
    assert DISTRIBUTION.get(package, package) in names(PROJECT["optional-dependencies"][extra])
    assert line_for(package) == f"pip install 'streamcab[{extra}]'"


def test_the_constraint_on_torch_is_within_the_range() -> None:
    exact = re.search(
        r"^torch==([\d.]+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert exact
    (wanted,) = (text for text in PROJECT["optional-dependencies"]["torch"] if text.startswith("torch"))
    least, most = re.search(r">=([\d.]+),<([\d.]+)", wanted).groups()  # type: ignore[union-attr]
    versions = [tuple(map(int, v.split("."))) for v in (least, exact.group(1), most)]
    assert versions == sorted(versions)


TORCH, ALL = (
    "pip install 'streamcab[torch]'",
    ("torch", "scipy", "numpy", "openvino", "safetensors", "soundfile"),
)


@pytest.mark.parametrize(
    ("words", "without", "line"),
    [
        (
            ["train", "--data", "m.csv", "--config", str(ROOT / "configs/smoke.toml"), "--out", "x"],
            ("torch",),
            TORCH,
        ),
        (["evaluate", "--model", "m", "--data", "m.csv"], ("torch",), TORCH),
        (["classify", "--compute", "cuda", "a.wav"], ("torch",), TORCH),
        (["listen", "--backend", "torch", "--file", "a.wav"], ("torch",), TORCH),
        (["classify", "a.wav"], ("openvino", "torch"), "pip install streamcab"),
        (["classify", "a.wav"], ALL, "pip install streamcab"),
        (["verify", "a.wav"], ALL, "pip install streamcab"),
        (["demo"], ALL, "pip install streamcab"),
        (["listen", "--file", "a.wav"], ALL, "pip install streamcab"),
        (["devices"], (*ALL, "sounddevice"), "pip install streamcab"),
        (["bench", "loss"], ALL, "pip install streamcab"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_that_lacks_a_package_says_the_line_to_type(
    words: list[str], without: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    done = run(*words, without=without)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("Error: ")
    assert said.endswith(f"not installed: {line}")


@pytest.mark.parametrize(
    "words", [["watch", "--help"], ["status", "--help"], ["log", "--help"], ["--version"]]
)
def test_the_thin_client_needs_none_of_them(words: list[str]) -> None:
    done = run(*words, without=(*ALL, "sounddevice"))
    assert done.returncode == 0, done.stderr


def test_status_asks_a_daemon_without_them() -> None:
    done = run("status", "--wait", "0.1", "ipc:///nowhere/streamcab-none", without=(*ALL, "sounddevice"))
    assert "Traceback" not in done.stderr
    assert "not installed" not in done.stderr
