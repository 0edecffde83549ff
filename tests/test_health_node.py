"""examples/subscribe.mjs, run by a real Node against a real feed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from feeding import PATIENCE_S
from health_feed import Speaker, prediction, printed, running

EXAMPLE = Path(__file__).parents[1] / "examples" / "subscribe.mjs"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example beside the package that it wants, as `npm install zeromq` would put it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node here: apt install nodejs npm")
    root = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, timeout=PATIENCE_S).stdout
    places = [EXAMPLE.parent / "node_modules", Path(root.strip())]
    found = next((place / "zeromq" for place in places if (place / "zeromq").is_dir()), None)
    if found is None:
        pytest.skip("no zeromq for Node: npm install --prefix examples")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "zeromq").symlink_to(found)
    for other in found.parent.iterdir():
        if not (tmp_path / "node_modules" / other.name).exists():
            (tmp_path / "node_modules" / other.name).symlink_to(other)
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path / EXAMPLE.name


def test_node_hears_what_is_said(example: Path) -> None:
    with Speaker() as speaker, running("node", str(example), speaker.endpoint) as process:
        # The first is repeated to the late joiner.
        speaker.say(prediction("mic", "uk", voiced_s=12.5, lag_ms=71.4))
        line = printed(process, r"mic +uk 75% +live, 12\.5 s of speech, 71 ms behind$")
        assert line.string[:8].count(":") == 2
        with running("node", str(example), speaker.endpoint, "mic") as other:
            printed(other, "mic +uk 75%")
            speaker.say(prediction("mic2", "us"), prediction("mic", None))
            # What was repeated for the other is not printed again.
            assert "mic2" in printed(process, r".*")[0]
            assert "nobody speaks" in printed(process, r".*")[0]
            assert "nobody speaks" in printed(other, r".*")[0]
