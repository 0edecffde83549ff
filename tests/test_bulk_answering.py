"""Many files at a time: the answers of each by itself, in order, errors among them; and memory that stays."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from serving import save_model
from signals import write_wav
from speech import SMALL_STAGES, noise, talk, tiny_model

from streamcab.bulk.answering import Answered, How, answered
from streamcab.bulk.listing import Entry
from streamcab.classifier import Classifier
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import read_audio

LENGTHS = (4.0, 0.03, 9.0, 1.0, 0.5, 6.0)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {}))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bulk")
    for i, seconds in enumerate(LENGTHS):
        rate = (8000, 16000, 11025)[i % 3]
        write_wav(folder / f"{i}.wav", talk(seconds, rate, seed=i), rate)
    both = np.stack([talk(3, 8000, seed=7), 0.5 * talk(3, 8000, seed=8)], 1)
    write_wav(folder / "stereo.wav", both, 8000)
    (folder / "bad.wav").write_bytes(b"this is no audio" * 50)
    order = ["0.wav", "stereo.wav", "1.wav", "bad.wav", "2.wav", "3.wav", "missing.wav", "4.wav", "5.wav"]
    return [folder / name for name in order]


def entries(files: list[Path]) -> list[Entry]:
    return [Entry(i, f"{i}", str(file)) for i, file in enumerate(files)]


@pytest.mark.parametrize("at_once", [1, 4, 64])
def test_each_file_is_answered_as_by_itself_and_in_order(
    classifier: Classifier, files: list[Path], at_once: int
) -> None:
    told: list[tuple[int, float]] = []
    found = list(answered(classifier, entries(files), How("each"), at_once, lambda n, s: told.append((n, s))))
    assert [one.entry.path for one in found] == [str(file) for file in files]
    assert sum(n for n, _ in told) == len(files)
    for one, file in zip(found, files, strict=True):
        if file.name in ("bad.wav", "missing.wav"):
            (row,) = one.rows
            assert file.name in row.error
            assert row.answer is None
            continue
        channels = ["1", "2"] if file.name == "stereo.wav" else [""]
        assert [row.channel for row in one.rows] == channels
        for row in one.rows:
            samples, rate = read_audio(file, row.channel or "mix")
            golden = classifier.classify(samples, rate)
            assert row.answer is not None
            assert row.answer.probs == pytest.approx(golden.probs, abs=1e-5)
            assert (row.answer.top, row.answer.voiced_s) == (golden.top, golden.voiced_s)
            assert row.name == str(file) + (f":{row.channel}" if row.channel else "")


def test_segments_of_a_file_follow_one_another(classifier: Classifier, files: list[Path]) -> None:
    (one,) = answered(classifier, entries(files[4:5]), How(segment_s=4.0))
    assert [(row.start_s, row.end_s) for row in one.rows] == [(0, 4), (4, 8), (8, 9)]
    assert one.seconds == pytest.approx(9.0)


def test_an_entry_that_is_an_error_becomes_a_row(classifier: Classifier) -> None:
    (one,) = answered(
        classifier, [Entry(0, "list.csv, line 3", "", None, "list.csv, line 3: names no file")], How()
    )
    assert isinstance(one, Answered)
    assert [row.error for row in one.rows] == ["list.csv, line 3: names no file"]


def test_a_file_of_any_length_takes_the_same_memory(tmp_path: Path) -> None:
    model = save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES), {}), tmp_path)
    rate = 44_100
    part = np.concatenate([talk(20, rate), noise(10, rate)])
    write_wav(tmp_path / "short.wav", part, rate)
    write_wav(tmp_path / "long.wav", np.tile(part, 8), rate)
    code = (
        "import resource, sys\n"
        "from streamcab.classifier import load\n"
        "from streamcab.bulk.answering import How, answered\n"
        "from streamcab.bulk.listing import Entry\n"
        "for one in answered(load(sys.argv[1]), [Entry(0, '', sys.argv[2])], How(), 1): print(one.seconds)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    heard, most = [], []
    for name in ("short.wav", "long.wav"):
        words = [sys.executable, "-c", code, str(model), str(tmp_path / name)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=True)
        heard.append(float(done.stdout.split()[0]))
        most.append(int(done.stdout.split()[1]) / 1024)
    assert heard == [30.0, 240.0]
    # The samples alone would be 37 MB more.
    assert most[1] - most[0] < 15, most
