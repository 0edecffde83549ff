"""`classify --ray`: nodes on this machine, a worker and the driver killed with -9; every id once, in the end.

Slow, and only where Ray is installed (`pip install 'streamcab[ray]'`), which is not so in the tests' usual environment.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray_nodes
from patience import PATIENCE_S, until
from ray_nodes import MARKS
from serving import STREAMCAB, save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.nn.checkpoint import Checkpoint

pytestmark = MARKS

COUNT = 24


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes of two CPUs."""
    with ray_nodes.cluster(2, 2) as made:
        yield made.address


@pytest.fixture
def words(cluster: str, tmp_path: Path) -> list[str]:
    model = save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {}), tmp_path)
    lines = ["id,path,seconds"]
    for i in range(COUNT):
        write_wav(tmp_path / f"{i}.wav", talk(2, seed=i), 8000)
        lines.append(f"{i},{i}.wav,4000")
    lines.append("gone,gone.wav,4000")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    out = str(tmp_path / "out")
    data = str(tmp_path / "list.csv")
    return [*STREAMCAB, "classify", "--model", str(model), "--ray", cluster, "--data", data, "--out", out]


def ids(out: Path) -> list[str]:
    from pyarrow import parquet

    index = json.loads((out / "index.json").read_text())
    return [row["id"] for name in index["parts"] for row in parquet.read_table(out / name).to_pylist()]


def test_every_id_is_there_once_though_a_worker_and_the_driver_are_killed(
    words: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = subprocess.Popen(words)
    try:
        until(lambda: bool(list(out.glob("part-*"))) or first.poll() is not None, seconds=5 * PATIENCE_S)
        assert first.poll() is None, first.returncode
        for pid in ray_nodes.processes(b"ray::", b"_Actor")[:1]:  # they hear parts now
            os.kill(pid, signal.SIGKILL)
    finally:
        first.kill()
        first.wait()
    before = {path.name for path in out.glob("part-*")}
    second = subprocess.run(
        [*words, "--resume"], capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False
    )
    assert second.returncode == 1, second.stderr
    assert f"{COUNT + 1} files, 1 with errors" in second.stderr
    assert ids(out) == [*(str(i) for i in range(COUNT)), "gone"]
    assert before <= {path.name for path in out.iterdir()}


def test_nothing_listens_beyond_this_machine(cluster: str) -> None:
    assert cluster.startswith("127.0.0.1:")
    found = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    of_ray = [line.split()[3] for line in found.splitlines() if "raylet" in line or "gcs_server" in line]
    assert of_ray
    assert all(address.startswith(("127.0.0.1:", "[::ffff:127.0.0.1]:")) for address in of_ray), of_ray
