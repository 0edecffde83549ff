"""A trained model judged: the right clips, no known speakers, and figures that can be counted again."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from corpus import PITCH, make_corpus, syllables, write_manifest
from matplotlib import pyplot
from rich.console import Console
from streamcab_train import report as reports
from streamcab_train.card import speaker_hashes
from streamcab_train.conditions import OFFLINE, STREAMED, Votes, conditions, through_mu_law
from streamcab_train.evaluate import evaluate
from streamcab_train.figures import age_group, enough
from streamcab_train.run import train
from streamcab_train.scores import scores

from streamcab.cli.train import evaluate as evaluate_command
from streamcab.dsp.gate import MISSING, SILENT, VOICED
from streamcab.errors import ConfigError, CorpusError
from streamcab.nn import checkpoint
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.confidence import Confidence

SMOKE = Path(__file__).parent.parent / "configs" / "smoke.toml"
COLUMNS = "file,label,voice"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in `corpus/`, a model trained on it in `model.safetensors`, others' clips in `other/`."""
    home = tmp_path_factory.mktemp("evaluate")
    data = make_corpus(home / "corpus", speakers=6, seconds=1.5, columns=COLUMNS)
    train(
        data,
        SMOKE,
        home / "run",
        overrides={"training.epochs": 2, "split.train": 0.4, "split.validation": 0.2, "split.test": 0.4},
        threads=1,
        cache=home / "cache",
        console=Console(file=io.StringIO()),
    )
    (home / "run" / "model.safetensors").rename(home / "model.safetensors")
    make_corpus(home / "other", speakers=3, seconds=1.5, first_seed=100)
    rows = [
        [f"{label}{n}_0.wav", label, f"new {label}{n}", sex, age, "validation" if n == 2 else "test"]
        for label in ("low", "high")
        for n, sex, age in ((0, "f", "31"), (1, "m", "twenties"), (2, "", ""))
    ]
    write_manifest(home / "other" / "new.csv", rows, "path,label,speaker,gender,age,part")
    return home


def go(home: Path, data: str = "corpus/manifest.csv", **keys: Any) -> tuple[dict[str, Any], str]:
    """An evaluation, and what it printed."""
    text = io.StringIO()
    model = keys.pop("model", home / "model.safetensors")
    keys = {"draws": 50} | keys
    made = evaluate(home / data, model, home / "cache", console=Console(file=text, width=200), **keys)
    return made, text.getvalue()


@pytest.fixture(scope="module")
def judged(home: Path) -> dict[str, Any]:
    """The model on its own test split."""
    return go(home, out=home / "report")[0]


def rewritten(home: Path, out: Path, **card: Any) -> Path:
    """The model with another card; None takes an entry away."""
    loaded = checkpoint.load(home / "model.safetensors")
    merged = {k: v for k, v in (loaded.card | card).items() if v is not None}
    checkpoint.save(Checkpoint(loaded.model, merged), out)
    return out


def test_its_own_test_split_gives_what_training_printed(home: Path, judged: dict[str, Any]) -> None:
    card = checkpoint.load(home / "model.safetensors").card
    printed = card["scores"]["test"]
    assert judged["scores"]["confusion"] == printed["confusion"]
    assert round(judged["scores"]["uar"], 4) == printed["uar"]
    assert judged["data"]["protocol"] == "speaker-disjoint"
    assert judged["data"]["clips"] == judged["data"]["speakers"] == printed["clips"]
    assert {k: c["speakers"] for k, c in judged["data"]["classes"].items()} == {
        label: parts["test"] for label, parts in card["speakers"].items()
    }


def test_every_way_of_hearing_stands_beside_offline(judged: dict[str, Any]) -> None:
    rows = {row["condition"]: row for row in judged["conditions"]}
    assert list(rows) == [
        "offline (gate on)",
        "streamed",
        "whole-clip normaliser",
        "G.711 mu-law 8 kHz",
        "gate off",
    ]
    assert rows["streamed"]["largest_difference"] <= 1e-5
    assert rows["streamed"]["same_answers"] == 1.0
    assert rows["gate off"]["largest_difference"] > 0
    assert 0 < rows["G.711 mu-law 8 kHz"]["largest_difference"] < 0.5
    for row in rows.values():
        assert 0 <= row["uar"] <= 1


def test_more_seconds_than_a_clip_has_change_nothing(judged: dict[str, Any]) -> None:
    curve = judged["seconds"]
    assert [row["seconds"] for row in curve] == [5, 10, 20, 30, 60]
    assert {row["clips_that_long"] for row in curve} == {0}
    assert {row["uar"] for row in curve} == {judged["scores"]["uar"]}
    assert {row["same_answers"] for row in curve} == {1.0}
    assert {tuple(row["whole_minus_these_uar_95"]) for row in curve} == {(0.0, 0.0)}
    assert judged["enough"] is None


@pytest.mark.parametrize(
    ("gains", "clips", "expected"),
    [
        ([(0.01, 0.2), (0.02, 0.1), (-0.01, 0.05), (-0.02, 0.02)], [9, 9, 9, 9], 20),
        ([(-0.01, 0.2), (0.02, 0.1), (-0.01, 0.05), (-0.02, 0.02)], [9, 9, 9, 9], 20),
        ([(-0.01, 0.2), (-0.02, 0.1), (0.0, 0.0), (0.0, 0.0)], [9, 9, 0, 0], 5),
        ([(0.01, 0.2), (0.02, 0.1), (0.0, 0.0), (0.0, 0.0)], [9, 9, 0, 0], None),
        ([None, None, None, None], [9, 9, 9, 9], None),
    ],
)
def test_enough_is_the_length_after_the_last_that_more_helped(
    gains: list[tuple[float, float] | None], clips: list[int], expected: int | None
) -> None:
    rows = [
        {"seconds": s, "clips_that_long": n, "whole_minus_these_uar_95": gain}
        for s, n, gain in zip((5, 10, 20, 30), clips, gains, strict=True)
    ]
    found = enough(rows)
    assert (None if found is None else found["seconds"]) == expected


def test_the_report_is_json_and_markdown_and_says_the_same(home: Path, judged: dict[str, Any]) -> None:
    assert json.loads((home / "report" / "report.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(judged)
    )
    text = (home / "report" / "report.md").read_text(encoding="utf-8")
    assert text.startswith(reports.render(json.loads(json.dumps(judged))))
    s = judged["scores"]
    assert f"| UAR | **{s['uar']:.3f}** |" in text
    assert "speaker-disjoint" in text
    assert str(home) not in text
    for heading in ("Who", "Scores", "Confusion", "Ways of hearing", "Seconds heard", "Calibration"):
        assert f"\n## {heading}\n" in text


def test_voices_that_were_trained_on_are_refused(home: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"\d of \d speakers, such as .*, were trained on: .*--allow-shared"
    ):
        go(home, split="train")
    with pytest.raises(CorpusError, match="were trained on"):
        go(home, split="all")
    made, text = go(home, split="all", allow_shared=True)
    assert re.fullmatch(r"speakers shared: \d+ of 12 were trained on", made["data"]["protocol"])
    assert made["data"]["protocol"] in text


def test_a_card_that_lists_nobody_is_said_to_be_unchecked(home: Path, tmp_path: Path) -> None:
    old = rewritten(home, tmp_path / "old.safetensors", training_speakers=None, taught_on=None)
    made, _ = go(home, split="all", model=old)
    assert made["data"]["protocol"].startswith("speakers unchecked")
    # By its own recipe the split can be made again, so it is known who was trained on.
    made, _ = go(home, model=old)
    assert made["data"]["protocol"] == "speaker-disjoint"
    with pytest.raises(CorpusError, match="were trained on"):
        go(home, split="train", model=old)


def test_the_card_lists_training_speakers_by_hash_only(home: Path) -> None:
    card = checkpoint.load(home / "model.safetensors").card
    listed = card["training_speakers"]
    everybody = speaker_hashes(f"{label}{n}" for label in ("low", "high") for n in range(6))
    assert set(listed) < set(everybody)
    assert len(listed) == sum(parts["train"] for parts in card["speakers"].values())
    assert all(re.fullmatch("[0-9a-f]{12}", h) for h in listed)
    assert speaker_hashes(["", "a", "a"]) == speaker_hashes(["a"])


def test_another_corpus_wants_a_split_of_its_own(home: Path) -> None:
    with pytest.raises(CorpusError, match="--split all"):
        go(home, "other/new.csv")
    made, _ = go(home, "other/new.csv", split="all")
    assert made["data"]["clips"] == 6
    made, _ = go(home, "other/new.csv", split_column="part")
    assert made["data"]["clips"] == 4
    assert made["data"]["protocol"] == "speaker-disjoint"
    with pytest.raises(CorpusError, match="split 'train' has no clips"):
        go(home, "other/new.csv", split="train", split_column="part")


def test_sex_and_age(home: Path) -> None:
    made, text = go(home, "other/new.csv", split="all")
    sexes = {g["group"]: g["clips"] for g in made["groups"]["sex"]}
    assert sexes == {name: {"high": 1, "low": 1} for name in ("f", "m", "not given")}
    assert [g["group"] for g in made["groups"]["age"]] == ["25 to 39", "twenties", "not given"]
    assert made["groups"]["sex"][0]["uar_95"] is None
    assert "## By sex" in text
    assert [age_group(w) for w in ("24", "25", "59.5", "61", "999", "", "teens")] == [
        "under 25",
        "25 to 39",
        "40 to 59",
        "60 and more",
        "not given",
        "not given",
        "teens",
    ]


def test_a_temperature_is_fitted_on_validation_and_kept_in_the_checkpoint(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "warm.safetensors"
    made, text = go(home, fit=out, abstain_accuracy=0.5)
    fitted = checkpoint.load(out).card["calibration"]
    assert fitted == made["calibration"]["temperature"]
    assert fitted["fitted_on"] == "validation"
    assert fitted["nll_after"] <= fitted["nll_before"]
    assert made["abstain"]["wanted_accuracy"] == 0.5
    kept = checkpoint.load(out).card["abstain"]
    assert (kept["accuracy"], kept["below"]) == (0.5, made["abstain"]["threshold"])
    assert checkpoint.load(out).confidence == Confidence(fitted["temperature"], kept["below"])
    assert "Served with temperature" in text
    before = checkpoint.load(home / "model.safetensors").model.state_dict()
    after = checkpoint.load(out).model.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    # Served or judged later, the temperature is in the card.
    again, _ = go(home, model=out)
    assert again["calibration"] == made["calibration"]
    assert again["calibration"]["as_served"] != again["calibration"]["bare"]
    assert again["abstain"] == made["abstain"]
    assert again["coverage"] == made["coverage"]
    with pytest.raises(ConfigError, match="for validation"):
        go(home, "other/new.csv", split="all", fit=tmp_path / "x.safetensors")


def test_short_and_silent_clips_are_dropped_and_counted(home: Path, tmp_path: Path) -> None:
    import soundfile

    other = home / "other"
    soundfile.write(other / "short.wav", syllables(PITCH["low"], 0.3, 8000, 1), 8000)
    soundfile.write(other / "silent.wav", np.zeros(12000, np.float32), 8000)
    rows = [["short.wav", "low", "x"], ["silent.wav", "high", "y"], ["low0_0.wav", "low", "z"]]
    rows += [["high0_0.wav", "high", "w"], ["high1_0.wav", "mars", "v"]]
    write_manifest(other / "dropped.csv", rows)
    made, _ = go(home, "other/dropped.csv", split="all")
    assert made["data"]["clips"] == 2
    assert made["data"]["dropped"] == {"label mars": 1, "nothing voiced": 1, "shorter than 0.5 s": 1}
    assert made["scores"]["interval_95"]["uar"] is None
    write_manifest(other / "none.csv", rows[-1:])
    with pytest.raises(CorpusError, match="no row of high, low in column 'label'"):
        go(home, "other/none.csv", split="all")


def test_votes_are_counted_with_and_without_the_gate() -> None:
    c = np.array([[1, 0], [0, 1], [0.5, 0.5]], np.float32)
    votes = Votes(c, np.array([VOICED, SILENT, MISSING], np.uint8))
    assert votes.mean(True).tolist() == [1, 0]
    assert votes.mean(False).tolist() == [0.5, 0.5]
    assert votes.mean(False, 1).tolist() == [1, 0]
    assert Votes(c, np.full(3, MISSING, np.uint8)).mean(False).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_mu_law_is_close_and_coarse(rate: int) -> None:
    x = syllables(500.0, 1.0, rate, 3)
    y = through_mu_law(x, rate)
    assert y.shape == (8000,)
    assert len(np.unique(y)) <= 255
    if rate == 8000:
        # Half a step of a segment: at most 1/32 of the value, and of the smallest step near zero.
        assert (np.abs(y - x) <= np.abs(x) / 30 + 5e-4).all()
    else:
        assert y.std() == pytest.approx(x.std(), rel=0.3)
    assert through_mu_law(np.zeros(0, np.float32), rate).shape == (0,)


def test_a_streamed_clip_has_the_same_intervals_at_another_rate(home: Path) -> None:
    ways = conditions(checkpoint.load(home / "model.safetensors"), "cpu")
    x = syllables(PITCH["high"], 1.7, 11025, 5)
    one, other = ways[OFFLINE](x, 11025), ways[STREAMED](x, 11025)
    assert one.c.shape == other.c.shape
    assert np.abs(one.c - other.c).max() <= 1e-5
    assert (one.kind == other.kind).all()


def test_plots_are_drawn_where_matplotlib_is(
    judged: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "plotter", lambda: None)
    assert [f.name for f in reports.write(judged, tmp_path)] == ["report.json", "report.md"]
    assert "report.png" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    monkeypatch.undo()
    files = reports.write(judged, tmp_path)
    assert [f.name for f in files] == ["report.json", "report.md", "report.png"]
    picture = pyplot.imread(files[-1])
    assert picture.shape[1] > 2 * picture.shape[0], "three plots side by side"
    assert "](report.png)" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_plots_show_the_figures_of_the_report(judged: dict[str, Any], tmp_path: Path) -> None:
    kept: list[Any] = []

    class Keep:
        """pyplot, but that figures stay open to be looked at."""

        subplots = staticmethod(pyplot.subplots)
        close = staticmethod(kept.append)

    reports.plot(judged, tmp_path / "x.png", Keep)
    left, middle, right = kept[0].axes
    bins = judged["calibration"]["as_served"]["bins"]
    served = next(line for line in left.lines if line.get_label() == "as served")
    assert list(served.get_ydata()) == [b["accuracy"] for b in bins]
    assert list(middle.lines[0].get_xdata()) == [s["seconds"] for s in judged["seconds"]]
    assert list(middle.lines[0].get_ydata()) == [s["uar"] for s in judged["seconds"]]
    assert list(right.lines[0].get_ydata()) == [c["accuracy"] for c in judged["coverage"]]
    pyplot.close(kept[0])


def test_the_papers_matrix_through_the_same_scores() -> None:
    s = scores([[226, 4, 0], [2, 191, 1], [8, 6, 86]])
    assert (round(s.accuracy, 4), round(s.uar, 4), round(s.f1, 4)) == (0.9599, 0.9424, 0.9523)


def test_the_command(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["--model", str(home / "model.safetensors"), "--data", str(home / "other" / "new.csv")]
    done = CliRunner().invoke(evaluate_command, [*arguments, "--split", "all", "--out", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r" / "report.json").is_file()
    assert "## Confusion" in done.output
    refused = CliRunner().invoke(evaluate_command, [*arguments, "--split-column", "nothing"])
    assert refused.exit_code == 1
    assert refused.output.startswith("Error: ")
    assert "no column 'nothing'" in refused.output
