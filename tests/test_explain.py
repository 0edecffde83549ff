"""`classify --explain`: three files for each that is heard, which other programs can read."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from serving import here, save_model
from signals import write_wav
from speech import SMALL_STAGES, silence, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.explain.drawing import CONTRA, PRO, drawing
from streamcab.explain.explained import Explained, explained
from streamcab.explain.files import names
from streamcab.explain.record import record
from streamcab.explain.textgrid import textgrid
from streamcab.nn.checkpoint import Checkpoint

LABELS = ("au", 'the "queen\'s" <&>', "us")
ODD = 'a <b> & "c"'
SOUND = np.concatenate([silence(1.0), talk(9.01, seed=3)])
Tier = list[tuple[float, float, str]]


@pytest.fixture(scope="module")
def one() -> Explained:
    classifier = Classifier(Checkpoint(tiny_model(4, labels=LABELS, stages=SMALL_STAGES)))
    return explained(classifier, SOUND, 8000, gate=None, name=ODD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    save_model(Checkpoint(tiny_model(1, stages=SMALL_STAGES)), folder)
    write_wav(folder / "talk.wav", talk(5, 16000), 16000)
    write_wav(folder / "silence.wav", np.zeros(16000), 16000)
    return folder


def tiers(text: str) -> dict[str, Tier]:
    """Of a TextGrid, as Praat reads one: values by their order, each on its line."""
    found: dict[str, Tier] = {}
    for part in re.split(r"item \[\d+\]:", text)[1:]:
        name = re.search(r'name = "(.*)"', part)
        assert name is not None
        size = re.search(r"intervals: size = (\d+)", part)
        intervals = re.findall(r'xmin = (\S+)\s+xmax = (\S+)\s+text = "(.*)"\n', part)
        assert size is not None
        assert len(intervals) == int(size[1])
        found[name[1]] = [(float(a), float(b), text.replace('""', '"')) for a, b, text in intervals]
    return found


def test_tiers_are_without_gaps_from_end_to_end(one: Explained) -> None:
    text = textgrid(one)
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 10.01\n')
    found = tiers(text)
    assert list(found) == ["accent", "speech", "voice", "moved"]
    for intervals in found.values():
        assert intervals[0][0] == 0
        assert intervals[-1][1] == 10.01
        assert [b for _, b, _ in intervals[:-1]] == [a for a, _, _ in intervals[1:]]
        assert all(a < b for a, b, _ in intervals)


def test_the_accent_is_that_of_the_answer_so_far(one: Explained) -> None:
    found = tiers(textgrid(one))
    assert found["accent"][0][2] == "-"
    assert found["accent"][0][1] >= 1.0
    said = [text for _, _, text in found["accent"] if text != "-"]
    assert said[-1] == one.answer.top
    speech = sum(b - a for a, b, text in found["speech"] if text == "speech")
    assert speech == pytest.approx(one.answer.voiced_s, abs=0.03)
    accents = sum(b - a for a, b, text in found["accent"] if text != "-")
    assert accents == pytest.approx(speech, abs=1e-6)


def test_named_stretches_have_their_sign(one: Explained) -> None:
    signs = [text[0] for _, _, text in tiers(textgrid(one))["moved"] if text]
    told = one.explanation
    assert signs.count("+") == len(told.pro) > 0
    assert signs.count("-") == len(told.contra) > 0


def test_what_a_model_did_not_hear_is_nothing(one: Explained) -> None:
    found = tiers(textgrid(replace(one, seconds=12.0)))
    assert all(intervals[-1] == (10.0, 12.0, "") for intervals in found.values())


def test_the_record_says_all(one: Explained) -> None:
    found = json.loads(record(one))
    told = one.explanation
    assert found["file"] == ODD
    assert found["answer"]["top"] == one.answer.top
    assert found["explains"] == "answer"
    assert len(found["stretches"]) == len(told.stretches)
    assert all(s in found["stretches"] for s in found["strongest"])
    assert {s["speaks"] for s in found["strongest"]} == {"for", "against"}
    assert all((s["moved"] > 0) == (s["speaks"] == "for") for s in found["stretches"])
    assert found["log_odds_without"]["for"] < found["log_odds"] < found["log_odds_without"]["against"]
    for course in (found["second"], found["running"]):
        assert tuple(course) == LABELS
        assert {len(values) for values in course.values()} == {len(told.votes)}
    assert found["running"]["us"][0] is None
    assert len(found["attention"]) == 10


def test_evidence_is_said_to_be_left_out() -> None:
    model = tiny_model(4, stages=SMALL_STAGES, classifiers=8, summary=6, lags=(0, 2))
    found = explained(Classifier(Checkpoint(model)), SOUND, 8000, gate=None, name="e")
    assert "without the evidence" in json.loads(record(found))["explains"]


def test_the_drawing_is_whole_and_its_names_are_text(one: Explained) -> None:
    picture = drawing(one)
    root = ElementTree.fromstring(picture)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any(str(text).startswith(ODD) for text in texts)
    assert all(label in texts for label in LABELS)
    assert not re.search(r"\b(nan|inf)\b", picture)
    for colour, named in ((PRO, one.explanation.pro), (CONTRA, one.explanation.contra)):
        assert picture.count(f'fill="{colour}" fill-opacity="0.18"') == len(named)


def test_a_file_without_speech_has_a_picture_of_nothing() -> None:
    model = Classifier(Checkpoint(tiny_model(4, stages=SMALL_STAGES)))
    nothing = explained(model, silence(3), 8000, gate=None, name="nothing")
    root = ElementTree.fromstring(drawing(nothing))
    assert any(element.text == "nothing: no speech" for element in root.iter())
    assert json.loads(record(nothing))["log_odds"] is None
    assert tiers(textgrid(nothing))["accent"] == [(0.0, 3.0, "-")]


def test_names_that_are_taken_get_a_number() -> None:
    assert names(["a/x.wav", "b/x.flac", "X.ogg", "y.wav", "-"]) == ["x", "x-2", "X-3", "y", "audio"]


def test_the_command_writes_three_files_each_and_goes_on(folder: Path, tmp_path: Path) -> None:
    files = [folder / name for name in ("talk.wav", "missing.wav", "silence.wav")]
    model = folder / "model.safetensors"
    done = here("classify", "--model", model, "--explain", tmp_path / "told", *files)
    assert done.returncode == 1
    assert done.stderr.decode().count("missing.wav") == 1
    plain = here("classify", "--model", model, *files)
    assert done.stdout == plain.stdout
    assert sorted(path.name for path in (tmp_path / "told").iterdir()) == [
        *("silence.TextGrid", "silence.json", "silence.svg"),
        *("talk.TextGrid", "talk.json", "talk.svg"),
    ]
    found = json.loads((tmp_path / "told" / "talk.json").read_text())
    assert f": {found['answer']['top']}  (" in done.stdout.decode()


@pytest.mark.parametrize(
    "words",
    [("--out", "a.csv"), ("--segments", "5"), ("--jobs", "2"), ("--channel", "each")],
    ids=lambda words: words[0],
)
def test_what_does_not_go_with_it_is_refused(folder: Path, tmp_path: Path, words: tuple[str, str]) -> None:
    done = here("classify", "--explain", tmp_path / "told", *words, folder / "talk.wav")
    assert done.returncode == 2
    assert words[0] in done.stderr.decode()
    assert not (tmp_path / "told").exists()


def test_a_folder_that_cannot_be_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = folder / "model.safetensors"
    done = here("classify", "--model", model, "--explain", tmp_path / "file" / "told", folder / "talk.wav")
    assert done.returncode == 2
    assert "told" in done.stderr.decode()
