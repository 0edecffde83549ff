"""The speech detector's training from end to end on a minute of sound: material, pieces, a net, a model that has it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from numpy.typing import NDArray

from streamcab.dsp.detector import Detector
from streamcab.nn.checkpoint import bundled, load
from streamcab.nn.weights import detector_of

torch = pytest.importorskip("torch")
pytest.importorskip("av")

from streamcab_train.detect import area, attach, coloured, copy, make_pieces, train  # noqa: E402
from streamcab_train.detector_net import Net, inputs  # noqa: E402
from streamcab_train.material import INTERVAL, gather, is_test, material, sure  # noqa: E402

SPEAKERS = ("us-1", "us-2", "uk-1", "uk-2")
Floats = NDArray[np.float32]


class Loud:
    """A teacher who takes what is loud and unsteady for speech, well enough for clips."""

    def intervals(self, x: Floats) -> Floats:
        power = (x[:, : x.shape[1] // INTERVAL * INTERVAL].reshape(len(x), -1, INTERVAL) ** 2).mean(2)
        return (power > 10**-2.5 * power.max(1, keepdims=True)).astype(np.float32)

    def chunks(self, x: Floats) -> Floats:
        # What jumps by the whole range is sung to him.
        return np.full((len(x), 4), float(np.abs(np.diff(x)).max() > 0.9), np.float32)


def write(path: Path, x: sounds.Sound, rate: int = sounds.RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x * 0.5 / np.abs(x).max(), rate)


def corpus(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        write(folder / f"{name}.wav", sounds.clip(name))
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "speaker"))
        rows.writerows((f"{name}.wav", f"speaker of {name}") for name in names)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `gather` makes of four clips, one judged, prompts, two packages of sounds and one that is kept out."""
    root = tmp_path_factory.mktemp("speech")
    packages = root / "packages"
    write(packages / "game" / "share" / "march.wav", sounds.music(12, 1))
    write(
        packages / "game" / "share" / "stereo.flac", np.stack([sounds.music(8, 2)[: 8 * 8000]] * 2, 1), 16000
    )
    write(packages / "game" / "share" / "sung.wav", np.resize((1.0, -1.0), 8000))
    (packages / "game" / "share" / "broken.ogg").write_bytes(b"no sound at all")
    write(packages / "hold" / "waltz.wav", sounds.music(10, 3))
    write(root / "prompts" / "welcome.wav", sounds.clip("us-3"))
    write(root / "prompts" / "one.wav", sounds.clip("us-3")[:4000])
    gather(
        root,
        Loud(),
        [corpus(root / "said", SPEAKERS)],
        [corpus(root / "apart", ("uk-3",))],
        [root / "prompts"],
        [packages],
        ["hold"],
        most=10,
    )
    make_pieces(root, "pieces-train", "train", 24, 1)
    make_pieces(root, "pieces-train-hard", "train", 8, 2, ("wind", "music"))
    make_pieces(root, "pieces-valid", "train", 8, 3)
    return root


def test_speakers_and_packages_that_are_kept_out_are_not_taught(scratch: Path) -> None:
    apart = sum(is_test(f"speaker of {name}") for name in SPEAKERS)
    # And the prompt that is a second or more.
    assert len(material(scratch, "train").speech) == len(SPEAKERS) - apart + 1
    assert len(np.load(scratch / "speech-test.npz")["length"]) == apart
    assert len(material(scratch, "apart", "test").speech) == 1
    names = {side: np.load(scratch / f"sounds-{side}.npz")["names"].tolist() for side in ("train", "test")}
    assert sorted(names["train"]) == ["game/march.wav", "game/stereo.flac"]
    assert names["test"] == ["hold/waltz.wav"]


def test_clips_keep_their_samples_and_an_opinion_of_each_interval(scratch: Path) -> None:
    [clip] = material(scratch, "apart", "test").speech
    x = sounds.clip("uk-3") * 0.5 / np.abs(sounds.clip("uk-3")).max()
    np.testing.assert_allclose(clip.x, x[: len(clip.x)], atol=1e-4)
    assert clip.speech.shape == (len(clip.x) // INTERVAL,)
    assert 0.4 < clip.speech.mean() < 1


def test_the_level_sharpens_the_teachers_opinion() -> None:
    power = np.repeat([0.0, 1.0, 0.1, 0.01, 0.0], [40, 40, 40, 40, 40])
    x = np.repeat(np.sqrt(power), INTERVAL) * np.random.default_rng(0).choice([-0.5, 0.5], 200 * INTERVAL)
    found = sure(x.astype(np.float32), np.full(200, 0.6, np.float32))
    assert set(found[:37]) == {0.0}
    assert set(found[41:119]) == {1.0}
    assert set(found[163:]) == {0.0}
    assert set(sure(x.astype(np.float32), np.zeros(200, np.float32))) == {0.0}


def test_the_same_seed_gives_the_same_pieces_of_both_kinds(scratch: Path) -> None:
    make_pieces(scratch, "again", "train", 24, 1)
    first, again = np.load(scratch / "pieces-train.npz"), np.load(scratch / "again.npz")
    for name in ("levels", "labels", "kinds"):
        np.testing.assert_array_equal(first[name], again[name])
    spoken = first["labels"].max(1) > 0.5
    assert 4 < spoken.sum() < 20
    assert not np.load(scratch / "pieces-train-hard.npz")["labels"].any()


def test_another_microphone_leaves_silence_silent() -> None:
    levels = np.random.default_rng(0).integers(-200, -40, (3, 50, 32)).astype(np.int16)
    levels[:, :10] = -264
    found = coloured(levels, np.random.default_rng(1))
    assert (found[:, :10] == -264).all()
    change = (found - levels)[:, 10:]
    assert (change == change[:, :1]).all()
    assert 0 < np.abs(change).max() <= 16
    assert (change[0] != change[1]).any()


def test_a_net_learns_what_a_model_then_hears(scratch: Path, tmp_path: Path) -> None:
    before = train(scratch, 1, 8, 1e-9, 0, 16)
    after = train(scratch, 10, 8, 1e-2, 0, 16)
    assert after < 0.8 * before
    on = train(scratch, 1, 8, 1e-4, 0, 16, scratch / "net.pt")
    assert on < before
    model = tmp_path / "model.safetensors"
    model.write_bytes(bundled().read_bytes())
    attach(scratch, model, 0.5, "clips of the project")
    found, old = load(model), load(bundled())
    assert found.architecture.detector == 16
    assert found.card == {**old.card, "detector": {"taught": "clips of the project", "threshold": 0.5}}
    assert all(
        (a == old.weights[k]).all() for k, a in found.weights.arrays.items() if not k.startswith("detector.")
    )
    weights = detector_of(found.weights)
    assert weights is not None
    levels = np.load(scratch / "pieces-valid.npz")["levels"][:1]
    heard = Detector(weights, 1, levels.shape[1]).push(np.zeros(1, np.intp), levels)
    net = Net(16)
    net.load_state_dict(torch.load(scratch / "net.pt", weights_only=True))
    with torch.no_grad():
        taught = net(*inputs(levels)).numpy()
    np.testing.assert_allclose(heard[0, 150:], taught[0, 150:] - 0.5, atol=1e-5)

    other = tmp_path / "other.safetensors"
    other.write_bytes(bundled().read_bytes())
    copy(model, other)
    assert load(other).hash == found.hash


def test_what_has_no_detector_gives_none(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no detector"):
        copy(bundled("phones"), tmp_path / "nothing.safetensors")


def test_the_area_is_how_often_speech_scores_higher() -> None:
    truth = np.array([True, True, False, False, False])
    assert area(np.array([5.0, 4, 3, 2, 1]), truth) == 1
    assert area(np.array([1.0, 2, 3, 4, 5]), truth) == 0
    assert area(np.array([3.0, 3, 3, 3, 3]), truth) == 0.5
    assert area(np.array([2.5, 4, 3, 2, 1]), truth) == pytest.approx(5 / 6)
