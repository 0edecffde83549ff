"""Corpora as people have them become manifests: one small tree of each layout, made here."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from corpus import make_corpus, write_manifest
from rich.console import Console
from streamcab_train.manifest import read_manifest
from streamcab_train.prepare import LAYOUTS, Prepared, prepare, read_labels, summary
from streamcab_train.prepare.archive import accent
from streamcab_train.prepare.common_voice import parts
from streamcab_train.prepare.table import reasons
from streamcab_train.recipe_keys import CorpusKeys

from streamcab.cli.train import LAYOUTS as COMMAND_LAYOUTS
from streamcab.cli.train import prepare as prepare_command
from streamcab.errors import ConfigError, CorpusError

MAPS = Path(__file__).parent.parent / "configs" / "labels"
CLASSIC = MAPS / "us-uk-australia.toml"


def sound(file: Path, seconds: float = 0.5) -> None:
    """A file of that length, in the format of its name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.zeros(round(8000 * seconds), np.float32), 8000)


def rows(made: Prepared, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(getattr(row, column) for column in columns) for row in made.rows]


def common_voice(folder: Path, *lines: tuple[str, ...]) -> Path:
    """A language's folder; each line is client, clip, age, gender, accents."""
    head = ("client_id", "path", "sentence", "age", "gender", "accents")
    table = [head, *((a, b, 'He said "so', c, d, e) for a, b, c, d, e in lines)]
    for line in lines:
        sound(folder / "clips" / line[1])
    (folder / "validated.tsv").write_text("".join("\t".join(row) + "\n" for row in table))
    return folder


def test_common_voice(tmp_path: Path) -> None:
    folder = common_voice(
        tmp_path / "en",
        ("a", "1.mp3", "twenties", "male_masculine", "United States English"),
        ("a", "2.mp3", "twenties", "male_masculine", "United States English,Midwestern"),
        ("b", "3.mp3", "", "female", "Welsh English|a bit posh"),
        ("c", "4.mp3", "", "", "India and South Asia (India, Pakistan, Sri Lanka)"),
        ("d", "5.mp3", "", "", ""),
        ("e", "6.mp3", "", "", "England English,Australian English"),
        ("f", "7.mp3", "", "", "United States English"),
        ("f", "8.mp3", "", "", "England English"),
    )
    made = prepare("common-voice", folder, tmp_path / "out" / "m.csv", read_labels(CLASSIC, "common-voice"))
    assert rows(made, "path", "label", "speaker", "sex", "age") == [
        ("../en/clips/1.mp3", "us", "a", "male", "twenties"),
        ("../en/clips/2.mp3", "us", "a", "male", "twenties"),
        ("../en/clips/3.mp3", "uk", "b", "female", ""),
    ]
    assert made.dropped == {
        "no accent given": 1,
        "accent India and South Asia (India, Pakistan, Sri Lanka)": 1,
        "accents of several classes": 1,
        "speaker with two classes": 2,
    }
    assert made.rows[0].seconds == pytest.approx(0.5, abs=0.15)


def test_of_a_speaker_no_more_than_so_many_are_taken(tmp_path: Path) -> None:
    us, uk = "United States English", "England English"
    lines = [("a", f"{i}.mp3", "", "", us) for i in range(5)] + [("b", "5.mp3", "", "", uk)]
    two = [("c", "6.mp3", "", "", us), ("c", "7.mp3", "", "", us), ("c", "8.mp3", "", "", uk)]
    folder = common_voice(tmp_path / "en", *lines, *two)
    made = prepare("common-voice", folder, tmp_path / "m.csv", read_labels(CLASSIC, "common-voice"), 2)
    assert rows(made, "path", "speaker") == [
        ("en/clips/0.mp3", "a"),
        ("en/clips/1.mp3", "a"),
        ("en/clips/5.mp3", "b"),
    ]
    assert made.dropped == {"more than 2 of a speaker": 3, "speaker with two classes": 3}


def test_common_voice_without_validated_and_with_the_old_column(tmp_path: Path) -> None:
    folder = common_voice(tmp_path / "en", ("a", "1.mp3", "", "", "us"))
    text = (
        (folder / "validated.tsv")
        .read_text(encoding="utf-8")
        .replace("accents", "accent")
        .replace("1.mp3", "1")
    )
    (folder / "validated.tsv").rename(folder / "train.tsv").write_text(text)
    made = prepare("common-voice", folder, tmp_path / "m.csv")
    assert rows(made, "path", "label") == [("en/clips/1.mp3", "us")]
    (folder / "train.tsv").unlink()
    with pytest.raises(CorpusError, match=r"no validated\.tsv"):
        prepare("common-voice", folder, tmp_path / "m.csv")


def test_commas_in_brackets_do_not_part_an_accent() -> None:
    assert parts("A (b, c)") == ("A (b, c)",)
    assert parts("A (b, c), D|E") == ("A (b, c), D|E", "A (b, c)", "D", "E")
    assert parts("  ") == ()


@pytest.mark.parametrize(
    ("name", "audio", "speaker"),
    [("wav48", "p225_001.wav", "225"), ("wav48_silence_trimmed", "p225_001_mic1.flac", "p225")],
)
def test_vctk(tmp_path: Path, name: str, audio: str, speaker: str) -> None:
    folder = tmp_path / "VCTK"
    sound(folder / name / "p225" / audio)
    sound(folder / name / "p280" / audio)
    (folder / "speaker-info.txt").write_text(
        f"ID  AGE  GENDER  ACCENTS  REGION COMMENTS\n{speaker}  23  F    English    Southern  England\n"
    )
    made = prepare("vctk", folder, tmp_path / "m.csv", read_labels(CLASSIC, "vctk"))
    assert rows(made, "label", "speaker", "accent", "sex", "age") == [
        ("uk", "p225", "English", "female", "23")
    ]
    assert made.dropped == {"speaker p280 is not in speaker-info.txt": 1}


def test_vctks_second_microphone_is_no_second_clip(tmp_path: Path) -> None:
    for n in (1, 2):
        sound(tmp_path / "wav48_silence_trimmed" / "p374" / f"p374_001_mic{n}.flac")
    (tmp_path / "speaker-info.txt").write_text("ID AGE GENDER ACCENTS\np374  28  M    Australian\n")
    made = prepare("vctk", tmp_path, tmp_path / "m.csv")
    assert rows(made, "path", "label") == [
        ("wav48_silence_trimmed/p374/p374_001_mic1.flac", "Australian"),
    ]
    assert made.dropped == {"second microphone": 1}


def test_the_public_archive(tmp_path: Path) -> None:
    columns = "age,age_onset,birthplace,filename,native_language,sex,speakerid,country,file_missing?"
    lines = [
        ["31", "0", "leeds, england, uk", "english1", "english", "male", "1", "uk", "FALSE"],
        ["32", "0", "pittsburgh, pennsylvania, usa", "english2", "english", "famale", "2", "usa", "FALSE"],
        ["33", "9", "riyadh, saudi arabia", "arabic1", "arabic", "female", "3", "saudi arabia", "FALSE"],
        ["34", "9", "kabul", "dari1", "dari", "male", "4", "afghanistan", "TRUE"],
        ["35", "0", "perth, australia", "english3", "english", "male", "5", "australia", "FALSE"],
    ]
    write_manifest(tmp_path / "speakers_all.csv", lines, columns)
    for name in ("english1", "english2", "arabic1"):
        sound(tmp_path / "recordings" / "recordings" / f"{name}.mp3")
    made = prepare("speech-accent-archive", tmp_path, tmp_path / "m.csv")
    assert rows(made, "label", "speaker", "sex", "age") == [
        ("arabic", "arabic1", "female", "33"),
        ("england", "english1", "male", "31"),
        ("us", "english2", "female", "32"),
    ]
    assert made.dropped == {"no recording in the archive": 1, "no such file": 1}


def test_the_nations_of_the_united_kingdom() -> None:
    assert accent("english", "uk", "belfast, northern ireland, uk") == "northern-ireland"
    assert accent("english", "uk", "somewhere") == "uk"
    assert accent("English", "New Zealand", "auckland") == "new-zealand"
    assert accent("Mandarin", "usa", "new york") == "mandarin"


def test_the_archive_as_saa8k(tmp_path: Path) -> None:
    lines = [["x.flac", "wales", "english9", "female", "40"], ["y.flac", "french", "french1", "male", "20"]]
    write_manifest(tmp_path / "manifest.csv", lines, "path,accent,speaker,sex,age")
    sound(tmp_path / "x.flac")
    sound(tmp_path / "y.flac")
    labels = read_labels(CLASSIC, "speech-accent-archive")
    made = prepare("speech-accent-archive", tmp_path, tmp_path / "m.csv", labels)
    assert rows(made, "path", "label", "accent") == [("x.flac", "uk", "wales")]
    assert made.dropped == {"accent french": 1}


def test_l2_arctic(tmp_path: Path) -> None:
    sound(tmp_path / "ABA" / "wav" / "arctic_a0001.wav")
    sound(tmp_path / "NJS" / "NJS" / "wav" / "arctic_a0001.wav")
    sound(tmp_path / "suitcase_corpus" / "wav" / "aba.wav")
    made = prepare("l2-arctic", tmp_path, tmp_path / "m.csv")
    assert rows(made, "label", "speaker", "sex") == [("arabic", "ABA", "male"), ("spanish", "NJS", "female")]
    assert made.dropped == {"suitcase_corpus is no speaker of L2-ARCTIC": 1}
    with pytest.raises(CorpusError, match="no speaker of L2-ARCTIC"):
        prepare("l2-arctic", tmp_path / "suitcase_corpus", tmp_path / "m.csv")


def test_a_tree(tmp_path: Path) -> None:
    sound(tmp_path / "us" / "1" / "deep" / "a.wav", 2.0)
    sound(tmp_path / "uk" / "1" / "a.flac")
    sound(tmp_path / "uk" / "stray.wav")
    made = prepare("tree", tmp_path, tmp_path / "m.csv")
    assert rows(made, "label", "speaker", "seconds") == [("uk", "uk/1", 0.5), ("us", "us/1", 2.0)]
    assert made.dropped == {"not below LABEL/SPEAKER/": 1}


def test_of_a_wrong_tree_it_is_said_what_a_right_one_is(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no audio; a tree is LABEL/SPEAKER/FILE"):
        prepare("tree", tmp_path, tmp_path / "m.csv")
    sound(tmp_path / "uk" / "stray.wav")
    with pytest.raises(CorpusError, match=r"is left: .* a tree is LABEL/SPEAKER/FILE"):
        prepare("tree", tmp_path, tmp_path / "m.csv")


def test_cslu_and_ut_podcast(tmp_path: Path) -> None:
    for name in ("speech/AR/FAR00037.wav", "speech/AR/readme.wav", "speech/HI/fhi00001.wav"):
        sound(tmp_path / "fae" / name)
    made = prepare("cslu-fae", tmp_path / "fae", tmp_path / "m.csv")
    assert rows(made, "label", "speaker") == [("arabic", "FAR00037"), ("hindi", "FHI00001")]
    assert made.dropped == {"not named FxxNNNNN": 1}
    for name in ("train/AU/x.wav", "train/GB/y.wav", "z.wav"):
        sound(tmp_path / "ut" / name)
    made = prepare("ut-podcast", tmp_path / "ut", tmp_path / "m.csv", read_labels(CLASSIC, "ut-podcast"))
    assert rows(made, "label", "speaker") == [("australia", ""), ("uk", "")]
    assert made.dropped == {"not below one of AU, US, UK": 1}


def test_the_manifest_is_one_that_training_reads(tmp_path: Path) -> None:
    make_corpus(tmp_path / "loose", seconds=0.3, speakers=2)
    for file in (tmp_path / "loose").glob("*.wav"):
        home = tmp_path / "tree" / file.stem[:-3] / file.stem
        home.mkdir(parents=True)
        file.rename(home / file.name)
    prepare("tree", tmp_path / "tree", tmp_path / "elsewhere" / "m.csv")
    manifest = read_manifest(tmp_path / "elsewhere" / "m.csv", CorpusKeys())
    assert manifest.labels == ("high", "low")
    assert len({clip.speaker for clip in manifest.clips}) == len(manifest.clips) == 4


def test_what_is_no_audio_is_dropped_and_an_empty_folder_refused(tmp_path: Path) -> None:
    sound(tmp_path / "a" / "1" / "fine.wav")
    (tmp_path / "a" / "1" / "text.wav").write_text("not audio")
    made = prepare("tree", tmp_path, tmp_path / "m.csv")
    assert made.dropped == {"not audio that can be read": 1}
    (tmp_path / "a" / "1" / "fine.wav").unlink()
    (tmp_path / "m.csv").unlink()
    with pytest.raises(CorpusError, match=r"nothing of .* is left: not audio that can be read 1"):
        prepare("tree", tmp_path, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()
    with pytest.raises(CorpusError, match="is no folder"):
        prepare("tree", tmp_path / "none", tmp_path / "m.csv")
    for name in LAYOUTS:
        (tmp_path / name).mkdir()
        with pytest.raises(CorpusError):
            prepare(name, tmp_path / name, tmp_path / "m.csv")


@pytest.mark.parametrize("file", sorted(MAPS.glob("*.toml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_label_maps_that_ship_are_read(file: Path, name: str) -> None:
    assert len(set(read_labels(file, name).values())) >= 3


def test_a_label_map_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    for text, wrong in {
        "[vctc]": r"unknown section \[vctc\]",
        "[labels]\na = 1": "must be a table of accent = class",
        "labels = 1": "must be a table",
        "[vctk]\na = 'b'": "maps no accent of tree",
        "[": "is not valid TOML",
    }.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=wrong):
            read_labels(file, "tree")
    with pytest.raises(ConfigError, match="cannot read the label map"):
        read_labels(tmp_path / "none.toml", "tree")


def test_the_table_and_the_reasons(tmp_path: Path) -> None:
    for speaker in "12":
        sound(tmp_path / "us" / speaker / "a.wav", 18.0)
    sound(tmp_path / "uk" / "1" / "a.wav", 10.8)
    console = Console(width=80, record=True, file=(tmp_path / "text").open("w", encoding="utf-8"))
    console.print(summary(prepare("tree", tmp_path, tmp_path / "m.csv")))
    lines = [line.split() for line in console.export_text().splitlines()]
    console.file.close()
    assert ["│", "us", "│", "2", "│", "2", "│", "0.010", "│"] in lines
    assert ["│", "uk", "│", "1", "│", "1", "│", "0.003", "│"] in lines
    assert reasons(Counter({"a": 3, "b": 2, "c": 1}), 2) == "a 3, b 2, and 1 reasons more"


def test_the_command(tmp_path: Path) -> None:
    sound(tmp_path / "c" / "england" / "1" / "a.wav")
    sound(tmp_path / "c" / "mars" / "1" / "a.wav")
    out = tmp_path / "m.csv"
    arguments = ["tree", str(tmp_path / "c"), "--out", str(out), "--labels", str(CLASSIC)]
    done = CliRunner().invoke(prepare_command, arguments)
    assert done.exit_code == 0, done.output
    assert "dropped 1 files: accent mars 1" in done.output
    with out.open() as text:
        assert [row["label"] for row in csv.DictReader(text)] == ["uk"]
    missing = CliRunner().invoke(prepare_command, ["vctk", str(tmp_path), "--out", str(out)])
    assert missing.exit_code == 1
    assert missing.output.startswith("Error: ")
    assert "speaker-info.txt" in missing.output
    assert tuple(COMMAND_LAYOUTS) == tuple(LAYOUTS)
