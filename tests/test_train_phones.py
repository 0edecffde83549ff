"""Phones are learnt from an alignment, the same each time; an alignment that is none is refused."""

import json

import numpy as np
import pytest
import torch
from speech import SMALL_STAGES, tiny_model
from streamcab_train.phones import labelled, learn_phones, phone_names, read_alignment

from streamcab.errors import CorpusError
from streamcab.nn.cabcnn import CabCnn

K, PHONES = 3, 4


def model() -> CabCnn:
    return tiny_model(0, stages=SMALL_STAGES, summary=K, phones=PHONES, reach=1, phone_hidden=16)


def clips(n: int = 20) -> list:
    """Voices whose phones lie apart, each said for 3 intervals, through lines of their own."""
    rng = np.random.default_rng(0)
    sound = 3 * rng.normal(0, 1, (PHONES, K))
    made = []
    for _ in range(n):
        phones = np.repeat(rng.integers(0, PHONES, 60), 3)
        u = sound[phones] + rng.normal(0, 0.3, (len(phones), K)) + rng.normal(0, 0.2, K)
        made.append((u.astype(np.float32), np.ones(len(phones), np.bool_), phones))
    return made


def test_phones_that_lie_apart_are_told_and_the_same_each_time() -> None:
    one, other = model(), model()
    assert learn_phones(one, clips(), 30, 0) == learn_phones(other, clips(), 30, 0) > 0.9
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert one.phones is not None
    assert not any(p.requires_grad for p in one.phones.parameters())
    # What is usual is what was said, about each voice's mean.
    about = np.concatenate([u - u.mean(0) for u, _, _ in clips()])
    phones = np.concatenate([phones for _, _, phones in clips()])
    for phone in range(PHONES):
        usual = one.phones.usual[phone].numpy()
        assert np.abs(usual - about[phones == phone].mean(0)).max() < 0.8


def test_an_interval_is_the_phone_at_its_middle() -> None:
    # Hundredths: silence to 3, AA to 8, nothing to 10, S to 14; middles of 25 ms: 1.25, 3.75, 6.25, 8.75, 11.25, 13.75.
    found = labelled([("SIL", 0, 3), ("AA", 3, 5), ("S", 10, 4)], ("SIL", "AA", "S"), 7, 0.025)
    assert found.tolist() == [0, 1, 1, -1, 2, 2, -1]


def test_an_alignment_is_read_without_what_was_not_aligned(tmp_path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"path": "a.flac", "phones": [["SIL", 0, 3], ["S", 3, 9]]}, {"path": "b.flac", "phones": []}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_alignment(file)
    assert list(found) == ["a.flac"]
    assert phone_names(found) == ("SIL", "S")


@pytest.mark.parametrize(
    "text", [None, "no JSON", '{"path": "a.flac"}', '{"path": "a", "phones": [["S", 1]]}']
)
def test_what_is_no_alignment_is_refused(tmp_path, text: str | None) -> None:
    file = tmp_path / "a.jsonl"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CorpusError, match="alignment"):
        read_alignment(file)
