"""Checkpoints: what was saved comes back; whatever else is refused, with the file's name, in one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speech import tiny_model

from streamcab.errors import CheckpointError
from streamcab.nn import checkpoint
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint
from streamcab.nn.geometry import StageShape

LITTLE = (StageShape(2, 3, 2, 2, 0.1), StageShape(3, 3, 5, 5, 0.0))
"""So that a file is small enough to try every one of its bytes."""


def little(seed: int = 0) -> CabCnn:
    return tiny_model(seed, stages=LITTLE, classifiers=2, hidden=(2,), attention=(3,), pooled_rate=400)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound checkpoint."""
    path = tmp_path / "model.safetensors"
    checkpoint.save(Checkpoint(little(), {"name": "little", "speakers": 12}), path)
    return path


def refused(path: Path) -> str:
    """What `load` says: one line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> None:
    """The same file with other metadata or weights, as somebody without `save` would write it."""
    tensors = safetensors.torch.load(path.read_bytes())
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    meta = json.loads(header["__metadata__"]["streamcab"])
    meta.pop("digest", None)
    change(meta, tensors)
    safetensors.torch.save_file(tensors, path, {"streamcab": json.dumps(meta)})


def test_what_was_saved_comes_back(path: Path) -> None:
    saved, loaded = little(), checkpoint.load(path)
    assert loaded.architecture == saved.architecture
    assert loaded.card == {"name": "little", "speakers": 12}
    for (name, a), (other, b) in zip(
        saved.state_dict().items(), loaded.model.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)
    x = torch.randn(1, 70, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(saved(x)[0], loaded.model(x)[0])
    assert not loaded.model.training


def test_the_papers_net_comes_back(tmp_path: Path) -> None:
    path, model = tmp_path / "paper.safetensors", tiny_model(3, extra={"seconds": 30})
    checkpoint.save(Checkpoint(model), path)
    loaded = checkpoint.load(path)
    assert loaded.architecture == model.architecture
    assert loaded.card == {}
    assert path.stat().st_size < 600_000


def test_saving_does_not_depend_on_being_trained_or_not(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    checkpoint.save(Checkpoint(little().train(), {"name": "little", "speakers": 12}), other)
    assert other.read_bytes() == path.read_bytes()


def test_the_hash_is_that_of_the_file(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    checkpoint.save(Checkpoint(little(1)), other)
    first, second = checkpoint.load(path).hash, checkpoint.load(other).hash
    assert first != second
    assert len(first) == 12
    assert checkpoint.load(path).hash == first
    assert int(first, 16) >= 0


def test_loading_leaves_the_random_numbers_alone(path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    checkpoint.load(path)
    assert torch.equal(torch.rand(1), expected)


def test_a_new_file_replaces_the_old_one_and_leaves_nothing_beside(path: Path) -> None:
    checkpoint.save(Checkpoint(little(1), {"name": "second"}), path)
    assert checkpoint.load(path).card == {"name": "second"}
    assert os.listdir(path.parent) == [path.name]


def test_who_reads_while_another_writes_reads_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    with path.open("rb", buffering=0) as reader:
        head = reader.read(100)
        checkpoint.save(Checkpoint(little(1)), path)
        assert head + reader.read() == before
    assert path.read_bytes() != before


def test_a_card_that_is_no_json_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError):
        checkpoint.save(Checkpoint(little(1), {"when": object()}), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_failure_at_the_last_moment_leaves_the_old_file(path: Path) -> None:
    # A folder of the target's name: everything is written, and the rename fails.
    target = path.parent / "folder"
    target.mkdir()
    (target / "kept").touch()
    with pytest.raises(CheckpointError, match="folder"):
        checkpoint.save(Checkpoint(little()), target)
    assert sorted(os.listdir(path.parent)) == ["folder", path.name]
    assert (target / "kept").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    (path.parent / f".{path.name}.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="space"):
        checkpoint.save(Checkpoint(little(1)), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("where", ["none/model.safetensors", "file/model.safetensors"])
def test_a_place_that_is_no_folder_cannot_be_written(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"):
        checkpoint.save(Checkpoint(little()), tmp_path / where)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "none.safetensors")
    assert "folder" in refused(tmp_path)
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "model.safetensors")


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(CheckpointError, match="File too large"):
        checkpoint.load(Path("/dev/zero"))


def test_a_truncated_file_is_refused_at_every_length(path: Path) -> None:
    data = path.read_bytes()
    for n in [*range(0, 300), *range(300, len(data), 37), len(data) - 1]:
        path.write_bytes(data[:n])
        refused(path)


def test_bytes_at_the_end_are_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    tensors = a.model.state_dict(), b.model.state_dict()
    return (
        a.architecture == b.architecture
        and a.card == b.card
        and all(torch.equal(tensors[0][k], tensors[1][k]) for k in tensors[0])
    )


def test_a_flipped_bit_in_any_byte_is_refused_or_harmless(path: Path) -> None:
    data, sound = path.read_bytes(), checkpoint.load(path)
    rng = np.random.default_rng(0)
    harmless = 0
    # The whole header, and a byte of nearly every weight.
    head = 8 + int.from_bytes(data[:8], "little")
    for at in [*range(0, head, 2), *range(head, len(data), 3)]:
        broken = bytearray(data)
        broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            loaded = checkpoint.load(path)
        except CheckpointError:
            refused(path)
        else:
            assert same(loaded, sound), f"byte {at} changed the model unseen"
            harmless += 1
    assert harmless < 0.02 * len(data)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), length=st.one_of(st.none(), st.integers(0, 2**64 - 1)))
def test_noise_is_refused(tmp_path: Path, data: bytes, length: int | None) -> None:
    path = tmp_path / "noise.safetensors"
    head = len(data) if length is None else length
    path.write_bytes(head.to_bytes(8, "little") + data)
    refused(path)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(100), b"RIFF" + bytes(4000), bytes(5000)]
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    refused(path)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "model.pt", tmp_path / "witness"

    class Run:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(witness),)

    torch.save(Run(), path)
    refused(path)
    assert not witness.exists()


def test_foreign_safetensors_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"weight": torch.zeros(3)}, path, metadata)
        assert "not a streamcab checkpoint" in refused(path)


def test_another_format_number_is_refused_with_both_numbers(path: Path) -> None:
    rewrite(path, lambda meta, _: meta.update(format=2))
    message = refused(path)
    assert "format 2" in message
    assert "format 1" in message


def test_a_weight_that_is_no_number_is_refused_by_name(path: Path) -> None:
    for bad in (torch.nan, torch.inf):
        rewrite(
            path, lambda _, tensors, bad=bad: tensors["distiller.stages.0.weight"].view(-1)[1:2].fill_(bad)
        )
        assert "distiller.stages.0.weight" in refused(path)


def test_a_negative_variance_is_refused(path: Path) -> None:
    rewrite(path, lambda _, tensors: tensors["distiller.norm.running_var"][0:1].fill_(-1))
    assert "running_var" in refused(path)


def test_weights_of_other_shapes_names_or_types_are_refused(path: Path) -> None:
    data = path.read_bytes()

    def drop(_: dict, tensors: dict) -> None:
        del tensors["acb.attention.0.bias"]

    def wide(_: dict, tensors: dict) -> None:
        tensors["acb.attention.0.bias"] = torch.zeros(9)

    def more(_: dict, tensors: dict) -> None:
        tensors["acb.attention.7.bias"] = torch.zeros(9)

    for change in (drop, wide, more):
        path.write_bytes(data)
        rewrite(path, change)
        assert "acb.attention" in refused(path)


WRONG = {
    "labels": [
        "us",
        ["us"],
        ["us", "us"],
        [1, 2, 3],
        [["a"], ["b"], ["c"]],
        None,
        [],
        {"a": 1},
        ["a", "b", ""],
    ],
    "rate": [0, -1, "8000", None, 8000.5, [], 1e99, 399, True],
    "pooled_rate": [0, None, "x", 0.5],
    "classifiers": [0, -2, "2", None, 2.5, 3, 10**15],
    "hidden": [[0], [-1], ["a"], None, 7, [2, 2]],
    "attention": [[0], ["a"], None, [4]],
    "normaliser": ["none", None, 3],
    "gate": ["yes", None, 3],
    "extra": [None, [], "x"],
    "stages": [
        [],
        None,
        [1],
        [{}],
        [{"filters": 2, "kernel": 3, "pool": 2, "stride": 0, "dropout": 0.1}],
        [{"filters": 2, "kernel": 0, "pool": 2, "stride": 2, "dropout": 0.1}],
        [{"filters": 2, "kernel": 3, "pool": 1, "stride": 2, "dropout": 0.1}],
        [{"filters": 2, "kernel": 3, "pool": 2, "stride": 2, "dropout": 7}],
        [{"filters": 2.5, "kernel": 3, "pool": 2, "stride": 2, "dropout": 0.1}],
        [{"filters": 10**12, "kernel": 10**6, "pool": 2, "stride": 2, "dropout": 0.1}],
        [{"filters": 2, "kernel": 3, "pool": 2, "stride": 2, "dropout": 0.1, "colour": "red"}],
    ],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in WRONG.items() for v in vs])
def test_an_architecture_that_cannot_be_is_refused(path: Path, key: str, value: object) -> None:
    rewrite(path, lambda meta, _: meta["architecture"].update({key: value}))
    refused(path)


@pytest.mark.parametrize("key", ["format", "architecture"])
def test_missing_metadata_is_refused(path: Path, key: str) -> None:
    rewrite(path, lambda meta, _: meta.pop(key))
    assert key in refused(path)


def test_an_unknown_key_in_the_architecture_is_refused(path: Path) -> None:
    rewrite(path, lambda meta, _: meta["architecture"].update(colour="red"))
    assert "colour" in refused(path)


@pytest.mark.parametrize("key", ["labels", "stages", "hidden"])
def test_a_missing_key_in_the_architecture_is_refused(path: Path, key: str) -> None:
    rewrite(path, lambda meta, _: meta["architecture"].pop(key))
    assert key in refused(path)


@pytest.mark.parametrize(
    "meta", ["null", "[]", "7", '"x"', "{", "", "[" * 5000, '{"format": 1, "architecture": []}']
)
def test_metadata_of_another_kind_is_refused(tmp_path: Path, meta: str) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(little().state_dict(), path, {"streamcab": meta})
    refused(path)


@pytest.mark.parametrize("card", [None, [], "x", 3])
def test_a_card_that_is_no_table_is_refused(path: Path, card: object) -> None:
    rewrite(path, lambda meta, _: meta.update(card=card))
    refused(path)


def test_a_checkpoint_without_a_digest_is_read(path: Path) -> None:
    rewrite(path, lambda _, tensors: None)
    assert checkpoint.load(path).card["name"] == "little"
