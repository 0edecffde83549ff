"""Parts on workers that are killed, here and in other processes: nothing twice, nothing lost."""

import csv
import json
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from patience import until
from serving import here, running, save_model
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.bulk.answering import AT_ONCE, How
from streamcab.bulk.listing import Entry
from streamcab.bulk.parts import Part, Store, cut
from streamcab.bulk.pool import in_processes
from streamcab.bulk.worker import Done, Job, PartWorker, nobody
from streamcab.classifier import load
from streamcab.nn.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {}), tmp_path_factory.mktemp("model"))


def job(model: Path) -> Job:
    return Job(model, load(model).checkpoint.hash, "cpu", 1, How())


def sounds(folder: Path, count: int) -> list[Entry]:
    """So many files, of which each is a part, by what the list says of its length."""
    sound = talk(0.5)
    for i in range(count):
        write_wav(folder / f"{i}.wav", sound, 8000)
    return [Entry(i, f"{i}", str(folder / f"{i}.wav"), 1000.0) for i in range(count)]


def test_many_processes_answer_as_one(model: Path, tmp_path: Path) -> None:
    parts = cut(sounds(tmp_path, 6), "salt")
    told: list[Done] = []
    stores = []
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
        stores.append(Store(tmp_path / name, ["au", "uk", "us"]))
    PartWorker(job(model), stores[0]).run(parts, nobody_done)
    in_processes(job(model), stores[1], parts, 2, told.append, nobody)
    assert sorted(one.name for one in told) == sorted(part.name for part in parts)
    for part in parts:
        (a,), (b,) = (list(store.rows(part)) for store in stores)
        assert a.answer is not None
        assert b.answer is not None
        assert (a.number, a.path, a.answer.probs) == (b.number, b.path, b.answer.probs)


def nobody_done(_: Done) -> None:
    """Nobody wants to know."""


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def reader_of(pipe: Path) -> int | None:
    """The pipe opened for writing, if somebody has it open to read."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_file_that_ends_each_process_is_named_and_the_others_are_answered(
    model: Path, tmp_path: Path
) -> None:
    """A pipe that nobody writes to stands for it: whoever opens it stands still, and is killed there."""
    entries = sounds(tmp_path, 3)
    culprit = Path(entries[1].path)
    culprit.unlink()
    os.mkfifo(culprit)
    part = Part("all", tuple(entries))
    store, told, tries = Store(tmp_path, []), list[Done](), tmp_path / ".try-all"
    work = threading.Thread(target=in_processes, args=(job(model), store, [part], 1, told.append, nobody))
    work.start()
    try:
        for beginning in (1, 2):
            until(lambda n=beginning: tries.exists() and tries.stat().st_size == n)
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
        until(lambda: tries.stat().st_size == 3)
        (worker,) = multiprocessing.active_children()
        writer: list[int] = []
        until(lambda: bool(writer) or ((fd := reader_of(culprit)) is not None and not writer.append(fd)))
        os.kill(children(worker.pid)[0], signal.SIGKILL)
        os.close(writer[0])
    finally:
        work.join(200)
    assert not work.is_alive()
    rows = list(store.rows(part))
    assert [row.number for row in rows] == [0, 1, 2]
    assert [bool(row.answer) for row in rows] == [True, False, True]
    assert rows[1].error == f"{culprit}: hearing it ended its process by SIGKILL"
    assert [(one.files, one.errors) for one in told] == [(3, 1)]


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_a_run_that_was_killed_goes_on(model: Path, tmp_path: Path, kind: str) -> None:
    """The list has a pipe in it at which the first run stands still, after it has answered what was before."""
    count = AT_ONCE + 4
    entries = sounds(tmp_path, count)
    gate = Path(entries[AT_ONCE + 1].path)
    sound = gate.read_bytes()
    gate.unlink()
    os.mkfifo(gate)
    lines = [f"{entry.id},{entry.path},1000" for entry in entries]
    (tmp_path / "list.csv").write_text(
        "\n".join(["id,path,seconds", *lines, f"0,{entries[0].path},5", "x,no.wav,9"])
    )
    out = tmp_path / ("answers.csv" if kind == "csv" else "answers")
    parts = tmp_path / ".answers.csv.parts" if kind == "csv" else out
    words = ["classify", "--model", model, tmp_path / "list.csv", "--out", out]
    with running(*words) as process:
        until(lambda: len(list(parts.glob("part-*"))) >= AT_ONCE)
        process.kill()
        process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert AT_ONCE <= len(before) < count
    assert not (tmp_path / "answers.csv").exists()
    refused = here(*words)
    assert refused.returncode == 2
    assert b"--resume continues it" in refused.stderr
    gate.unlink()
    gate.write_bytes(sound)
    done = here(*words, "--resume")
    assert done.returncode == 1, done.stderr
    assert f"Continuing: {len(before)} of {count + 1} files".encode() in done.stderr
    assert b"1 files were listed twice" in done.stderr
    assert f"{count + 1} files, 1 with errors".encode() in done.stderr
    if kind == "csv":
        assert not parts.exists()
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == [*(entry.id for entry in entries), "x"]
    else:
        from pyarrow import parquet

        assert before.items() <= {path.name: path.stat().st_mtime_ns for path in out.iterdir()}.items()
        index = json.loads((out / "index.json").read_text())
        rows = [row for name in index["parts"] for row in parquet.read_table(out / name).to_pylist()]
        assert [row["id"] for row in rows] == [*(entry.id for entry in entries), "x"]
    assert [row["id"] for row in rows if row["error"]] == ["x"]
    assert len({row["p_us"] for row in rows if row["id"] != "x"}) == 1
    again = here(*words, "--resume")
    assert (again.returncode, b"is complete" in again.stdout) == (0, True)
