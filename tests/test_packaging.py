"""What `pip install` gives: wheel and sdist, in clean environments, run as users would run them.

Slow: pip fetches several hundred megabytes. Skipped where no index can be reached.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_port

from streamcab.classifier import load
from streamcab.source.file import read_audio

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "streamcab" / "clips" / "uk-1.ogg"
THIN = ("click", "rich", "pyzmq", "msgspec")
BASE_MB, THIN_MB = 450, 40

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Environment:
    """A clean virtual environment."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
        self.folder = folder
        self._own = {path.name for path in self.site.iterdir()}

    @property
    def site(self) -> Path:
        """Where packages are installed."""
        tag = f"python{sysconfig.get_python_version()}"
        return self.folder / "lib" / tag / "site-packages"

    def pip(self, *words: str) -> None:
        """`pip install` of something; skips the test where no index answers."""
        command = [self.folder / "bin" / "python", "-m", "pip", "install", "-q", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
        if "Failed to establish a new connection" in done.stderr or "NameResolutionError" in done.stderr:
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stderr

    def run(self, *words: str, cwd: Path | None = None, code: int = 0) -> str:
        """A command of streamcab: what it says, on standard error where it fails."""
        command = [self.folder / "bin" / "streamcab", *words]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, cwd=cwd or self.folder, env=env
        )
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        command = [self.folder / "bin" / "streamcab", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=self.folder, env=env)

    def has(self, package: str) -> bool:
        """Whether a package is there."""
        return (self.site / package).is_dir()

    @property
    def megabytes(self) -> float:
        """Size of all that was installed; pip and what the environment began with left out."""
        added = [path for path in self.site.iterdir() if path.name not in self._own]
        files = [f for path in added for f in ([path] if path.is_file() else path.rglob("*"))]
        return sum(f.lstat().st_size for f in files) / 1e6


Make = Callable[[str], Environment]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("environments")
    return lambda name: Environment(folder / name)


@pytest.fixture(scope="module")
def built(make: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheel and sdist of this tree."""
    builder, out = make("builder"), tmp_path_factory.mktemp("dist")
    builder.pip("hatchling")
    command = [builder.folder / "bin" / "python", "-m", "hatchling", "build", "-d", out]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, timeout=300)
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz"))}


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def base(request: pytest.FixtureRequest, make: Make, built: dict[str, Path]) -> Environment:
    environment = make(f"base-{request.param}")
    environment.pip(str(built[request.param]))
    return environment


@pytest.fixture(scope="module")
def thin(make: Make, built: dict[str, Path]) -> Environment:
    """As docs/how-to/operations.md has it."""
    environment = make("thin")
    environment.pip(*THIN)
    environment.pip("--no-deps", str(built["wheel"]))
    return environment


def test_both_hold_the_licences_the_recipes_and_the_marker_of_types(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = wheel.namelist()
    for part in ("streamcab/configs/live.toml", "streamcab/py.typed", "streamcab_train/run.py"):
        assert part in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(built["sdist"]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "streamcab/py.typed", "tests/test_packaging.py"} <= held
    assert max(path.stat().st_size for path in built.values()) < 5e6


def test_the_base_is_small_and_answers_as_torch_does(base: Environment) -> None:
    assert base.megabytes <= BASE_MB
    assert not base.has("torch")
    assert not base.has("scipy")
    said = json.loads(base.run("classify", "--json", str(CLIP)))
    clf = load()
    clf = type(clf)(clf.checkpoint, backend="torch")
    assert said["probs"] == pytest.approx(clf.classify(*read_audio(CLIP)).probs, abs=1e-5)
    assert "(equal within 1e-05)" in base.run("verify", str(CLIP))


def test_in_the_base_an_extra_that_is_missing_is_one_line(base: Environment) -> None:
    words = ("train", "--data", "m.csv", "--config", "configs/smoke.toml", "--out", "x")
    said = base.run(*words, code=1)
    assert said.splitlines() == [
        "Error: streamcab train needs torch, which is not installed: pip install 'streamcab[torch]'"
    ]


@pytest.fixture(scope="module")
def served(base: Environment) -> Iterator[str]:
    """The endpoint of a daemon in the base environment."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with base.start("listen", "--file", str(CLIP), "--loop", "--quiet", "--endpoint", endpoint) as daemon:
        yield endpoint
        daemon.terminate()


def test_the_thin_client_is_small_and_watches_a_daemon(thin: Environment, served: str) -> None:
    assert thin.megabytes <= THIN_MB
    assert not thin.has("numpy")
    with thin.start("watch", served, "--json") as watching:
        assert watching.stdout is not None
        message = json.loads(watching.stdout.readline())
        watching.terminate()
    assert message["stream"] == CLIP.stem
    assert "model" in thin.run("status", "--wait", "30", served)


def test_the_thin_client_says_what_the_rest_needs(thin: Environment) -> None:
    said = thin.run("classify", str(CLIP), code=1)
    assert said.startswith("Error: streamcab classify needs ")
    assert said.endswith("which is not installed: pip install streamcab\n")


def test_the_full_one_trains_in_seconds(make: Make, built: dict[str, Path], tmp_path: Path) -> None:
    full = make("full")
    full.pip(f"{built['wheel']}[torch]", "-c", str(ROOT / "constraints.txt"))
    clips = full.site / "streamcab" / "clips" / "clips.csv"
    out = tmp_path / "out"
    full.run("train", "--data", str(clips), "--config", "configs/smoke.toml", "--out", str(out), cwd=tmp_path)
    said = full.run("classify", "--model", str(out / "model.safetensors"), "--json", str(CLIP))
    assert json.loads(said)["top"]
