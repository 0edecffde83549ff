"""What is wrong with samples: each flaw is found, sound ones have none, and none flutters."""

import os
import threading

import numpy as np
import pytest
from serving import Hand, serving, until
from signals import tone
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.audio.quality import HOLD_S, SILENT_S, Flaws
from streamcab.audio.ring import Bank
from streamcab.message import Prediction, Status
from streamcab.nn.checkpoint import Checkpoint
from streamcab.rtp.codec import TABLES
from streamcab.source.stdin import Stdin

RATES = (8000, 48_000)


class Listener:
    """One stream, looked at once a second."""

    def __init__(self, rate=8000):
        self.bank, self.flaws, self.now, self.said = Bank(rate, 1, 10 * rate), Flaws(1), 100.0, []

    def hear(self, samples, refused=0):
        """A second more, its last part being `samples`; what is wrong now."""
        self.now += 1.0
        self.bank.write(0, np.asarray(samples, np.float32), self.now)
        one = np.zeros(1, np.intp)
        self.flaws.look(one, self.bank, one, np.array([refused]), self.now)
        self.said = dict(self.flaws.changed(one, self.now)).get(0, self.said)
        return self.said

    @property
    def silent(self):
        return bool(self.flaws.silent(np.zeros(1, np.intp), self.now)[0])


@pytest.mark.parametrize("rate", RATES)
def test_sound_samples_have_no_flaw(rate):
    listener = Listener(rate)
    for seed in range(5):
        x = talk(1, rate, seed=seed, pauses=False)
        assert listener.hear(x) == []
        assert listener.hear(x / np.abs(x).max()) == []  # as loud as can be, and not cut
        assert listener.hear(0.9999 * tone(50 + 100 * seed, 1, rate) / 0.5) == []
    assert not listener.silent


def test_flaws_of_each_kind():
    voice = talk(1, pauses=False)
    loud = voice / np.abs(voice).max()
    assert Listener().hear(np.clip(4 * loud, -1, 1)) == ["clipping"]
    assert Listener().hear(np.clip(4 * loud, -1, 0.3)) == ["clipping"]
    assert Listener().hear(0.1 * loud + 0.2) == ["offset"]
    assert Listener().hear(np.full(8000, -0.4)) == ["stuck"]
    assert Listener().hear(np.full(8000, 1.0)) == ["stuck"]
    assert Listener().hear(voice, refused=3) == ["not-a-number"]
    assert Listener().hear(np.clip(4 * loud + 2, -1, 1), refused=1) == [
        "clipping",
        "offset",
        "not-a-number",
    ]


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_clipping_shows_through_companding(law):
    """The loudest code of either law is clipping when it is held."""
    table = TABLES[law] / np.float32(32768)
    loud = np.clip(4 * tone(300, 1, 8000), -1, 1)
    codes = np.abs(table[None, :] - loud[:, None]).argmin(1)
    assert Listener().hear(table[codes]) == ["clipping"]


def test_a_flaw_stands_a_while_and_silence_needs_a_while():
    listener, voice = Listener(), talk(1, pauses=False)
    assert listener.hear(np.full(8000, 0.5)) == ["stuck"]
    for _ in range(int(HOLD_S) - 1):
        assert listener.hear(voice) == ["stuck"]
    assert listener.hear(voice) == []
    for _ in range(int(SILENT_S)):
        assert listener.hear(np.zeros(8000)) == []
        assert not listener.silent
    listener.hear(np.zeros(8000))
    assert listener.silent
    listener.hear(voice)
    assert not listener.silent


def test_what_is_missing_or_was_looked_at_before_says_nothing():
    listener = Listener()
    listener.bank.skip(0, 8000, 0.0)
    assert listener.hear([]) == []
    assert listener.hear(np.full(8000, 0.5)) == ["stuck"]
    for _ in range(int(HOLD_S)):
        last = listener.hear([])  # nothing new: what is old is not seen again
    assert last == []


def test_a_slot_that_is_given_to_another_has_a_clean_record():
    listener = Listener()
    assert listener.hear(np.full(8000, 0.5), refused=5) == ["stuck", "not-a-number"]
    listener.flaws.reset(np.array([0]))
    listener.bank.reset(0)
    listener.said = []
    assert listener.hear(talk(1, pauses=False)) == []


# -- in the daemon -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}, "0123456789ab")


def status(**fields):
    return lambda m: isinstance(m, Status) and all(getattr(m, k) == v for k, v in fields.items())


def test_digital_silence_is_a_state_and_clipping_a_flaw_of_the_feed(checkpoint, monkeypatch, caplog):
    monkeypatch.setattr("streamcab.audio.quality.SILENT_S", 0.5)
    monkeypatch.setattr("streamcab.audio.quality.HOLD_S", 0.5)
    hand, loud = Hand(), np.clip(40 * talk(1, pauses=False), -1, 1)
    with serving(checkpoint, [hand], max_lag_s=9) as feed:
        hand.begin("mic", 0)
        hand.bank.write(0, loud, 0.0)
        until(feed, status(source_state="live", flaws=["clipping"]))
        until(feed, status(flaws=[]))  # nothing new comes, so it is not seen any more
        while not feed_has(feed, status(source_state="silent", flaws=[])):
            hand.bank.write(0, np.zeros(1600, np.float32), 0.0)
        hand.bank.write(0, talk(2, pauses=False), 0.0)
        until(feed, status(source_state="live", flaws=[]))
    said = [r.getMessage() for r in caplog.records if "mic" in r.getMessage()]
    assert said == [
        "mic: what is wrong with its samples: clipping",
        "mic: what is wrong with its samples: nothing any more",
        "mic: silent: every sample is 0: is it muted?",
        "mic: live again",
    ]


def feed_has(feed, wanted):
    """Whether the next message, or one that waits behind it, is a wanted one."""
    first = feed.recv(1.0)
    return any(wanted(m) for m in (first, *feed.drain()) if m is not None)


def test_a_pipe_that_brings_what_is_no_number_says_so_and_is_heard_all_the_same(checkpoint):
    """NaN and infinity in the middle of speech: missing, named, and the rest of it answered."""
    out, into = os.pipe()
    voice = talk(4, pauses=False)
    voice[9000:9010], voice[17_000] = np.nan, np.inf
    with open(out, "rb") as reader, open(into, "wb", buffering=0) as writer:
        source = Stdin("f32le", 8000, file=reader)
        with serving(checkpoint, [source]) as feed:
            feeder = threading.Thread(target=writer.write, args=(voice.astype("<f4").tobytes(),))
            feeder.start()
            until(feed, status(source_state="live", flaws=["not-a-number"]))
            feeder.join()
            writer.close()
            last = until(feed, lambda m: isinstance(m, Prediction) and m.state == "ended")[-1]
    assert source.counters()["not_a_number"] == 11
    assert last.top is not None
    assert all(np.isfinite(p) for p in last.probs.values())


@pytest.mark.parametrize(
    ("what", "top"),
    [("zeros", False), ("stuck", False), ("nan", False), ("offset", True), ("clipped", True)],
)
def test_no_flaw_makes_an_answer_that_no_speech_supports(checkpoint, what, top):
    """What is no speech gets no label; what is speech, however damaged, gets one: with numbers in any case."""
    voice = talk(6)
    samples = {
        "zeros": np.zeros(48_000),
        "stuck": np.full(48_000, 0.7),
        "nan": np.full(48_000, np.nan),
        "offset": voice + 0.3,
        "clipped": np.clip(30 * voice, -1, 1),
    }[what].astype(np.float32)
    hand = Hand(live=False)
    with serving(checkpoint, [hand]) as feed:
        hand.begin("mic", 0)
        hand.bank.write(0, samples, 0.0)
        hand.bank.finish(0)
        last = until(feed, lambda m: isinstance(m, Prediction) and m.state == "ended")[-1]
    assert (last.top is not None) == top
    assert sum(last.probs.values()) == pytest.approx(1.0 if top else 0.0)
