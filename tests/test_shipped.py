"""Files that came with streamcab are found in a checkout and in a wheel."""

from pathlib import Path

import pytest

from streamcab import shipped as module
from streamcab.shipped import recipes, shipped


@pytest.fixture(params=["checkout", "wheel"])
def installation(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds `configs`: beside the package or inside it."""
    package = tmp_path / "streamcab"
    home = package if request.param == "wheel" else tmp_path
    (home / "configs" / "labels").mkdir(parents=True)
    (home / "configs" / "live.toml").touch()
    (home / "configs" / "labels" / "native.toml").touch()
    monkeypatch.setattr(module, "PACKAGE", package)
    return home


def test_a_file_is_found(installation: Path) -> None:
    assert shipped("configs/live.toml") == installation / "configs" / "live.toml"
    assert shipped(Path("configs", "labels", "native.toml")) is not None
    assert shipped("configs/none.toml") is None
    assert shipped("configs") is None


def test_all_recipes_are_named_as_in_a_checkout(installation: Path) -> None:
    assert sorted(recipes()) == ["configs/labels/native.toml", "configs/live.toml"]


@pytest.mark.parametrize("name", ["configs/live.toml", "systemd/streamcab@.service"])
def test_this_installation_is_whole(name: str) -> None:
    assert shipped(name)
