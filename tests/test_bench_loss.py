"""Answers under loss, on two clips and a little model: the real intake and engine, against the clips themselves."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import sounds
from click.testing import CliRunner
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.bench.loss import choose, compare, conditions, markdown, packets, play
from streamcab.bench.plot import svg
from streamcab.bench.speech import encode
from streamcab.bench.traffic import Losses
from streamcab.classifier import Classifier
from streamcab.cli.bench import bench
from streamcab.errors import ConfigError, SourceError
from streamcab.nn.checkpoint import Checkpoint, find, load, save
from streamcab.rtp.codec import TABLES
from streamcab.rtp.decoder import available

UNDER = [("pcmu", 0.0, False), ("pcmu", 0.05, False), ("pcmu", 0.3, True)]


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"})


@pytest.fixture
def clips(tmp_path):
    write_wav(tmp_path / "a.wav", talk(6, seed=1), 8000)
    write_wav(tmp_path / "b.wav", talk(9, 16000, seed=2), 16000)
    return tmp_path


@pytest.mark.parametrize("codec", ["pcmu", "pcma"])
def test_without_loss_the_answer_is_that_of_the_same_codec_offline(checkpoint, codec):
    voices = [talk(5, seed=3), talk(8.01, seed=4)]
    heard = play(checkpoint, codec, [packets(codec, v, 8000) for v in voices], Losses(2, 0.0, False, 0))
    for probs, voice in zip(heard, voices, strict=True):
        there = TABLES[codec.upper()][encode(codec, voice[: len(voice) // 160 * 160])] / np.float32(32768)
        offline = Classifier(checkpoint).classify(there, 8000).probs
        assert probs == pytest.approx(list(offline.values()), abs=1e-5)


def test_noise_weighs_as_it_does_in_an_answer():
    model = load(find(None))
    noisy = sounds.in_noise(sounds.clip("us-2"), sounds.white(9, 1), 5.0).astype(np.float32)
    (heard,) = play(model, "pcmu", [packets("pcmu", noisy, 8000)], Losses(1, 0.0, False, 0))
    there = TABLES["PCMU"][encode("pcmu", noisy[: len(noisy) // 160 * 160])] / np.float32(32768)
    assert heard == pytest.approx(list(Classifier(model).classify(there, 8000).probs.values()), abs=1e-5)


def test_the_table_of_two_clips(checkpoint, clips):
    clips = choose(clips, 100, 0)
    rows = compare(checkpoint, clips, 1, under=UNDER)
    assert [(r.codec, r.loss, r.burst, r.clips) for r in rows] == [(*u, 2) for u in UNDER]
    assert rows[0].mean_change < rows[2].mean_change
    assert all(0 <= r.mean_change <= r.max_change <= 1 for r in rows)
    table = markdown(rows, clips)
    assert "2 clips" in table
    assert "| PCMU | 30% in bursts | " in table
    ET.fromstring(svg(rows))


@pytest.mark.skipif(not available(), reason="no PyAV here")
def test_opus_is_heard_too(checkpoint):
    voice = talk(5, seed=5)
    heard = play(checkpoint, "opus", [packets("opus", voice, 8000)], Losses(1, 0.0, False, 0))
    offline = Classifier(checkpoint).classify(voice, 8000).probs
    assert heard[0] == pytest.approx(list(offline.values()), abs=0.2)
    assert heard[0].sum() == pytest.approx(1, abs=1e-6)


def test_everything_that_was_asked_for_is_a_condition():
    all_of_them = conditions()
    for share in (0.01, 0.03, 0.05, 0.1, 0.2, 0.3):
        assert ("pcmu", share, False) in all_of_them
        assert ("pcmu", share, True) in all_of_them
    assert ("pcma", 0.0, False) in all_of_them


def test_a_manifest_tells_the_speakers(clips):
    manifest = clips / "manifest.csv"
    manifest.write_text("path,speaker\na.wav,ann\nb.wav,ann\n")
    clips = choose(manifest, 100, 0)
    assert (len(clips.files), clips.speakers) == (2, 1)
    assert len(choose(manifest, 1, 0).files) == 1


def test_data_that_is_none_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no audio"):
        choose(tmp_path, 10, 0)
    (tmp_path / "m.csv").write_text("file\nx.wav\n")
    with pytest.raises(ConfigError, match="column"):
        choose(tmp_path / "m.csv", 10, 0)
    with pytest.raises(SourceError, match="read"):
        choose(tmp_path / "none.csv", 10, 0)


def test_the_command_writes_table_and_plot(checkpoint, clips, tmp_path, monkeypatch):
    monkeypatch.setattr("streamcab.bench.loss.conditions", lambda: UNDER[:2])
    model, plot = tmp_path / "m.safetensors", tmp_path / "loss.svg"
    save(checkpoint, model)
    words = ["loss", "--data", str(clips), "--model", str(model), "--out", str(plot), "--json"]
    done = CliRunner().invoke(bench, words)
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)) == 2
    assert plot.read_text(encoding="utf-8").startswith("<svg")
