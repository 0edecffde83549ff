"""The daemon with a real feed and a real subscriber: what is published, and that it is the offline answer."""

import threading
import time
from collections import defaultdict

import numpy as np
import pytest
from patience import PATIENCE_S
from serving import ANYWHERE, Hand, ended, predictions, serving, until
from signals import write_wav
from speech import SMALL_STAGES, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.errors import ConfigError, FeedError, SourceError
from streamcab.feed import Subscriber
from streamcab.message import DaemonStatus, ModelInfo, Prediction, Status
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.checkpoint import Checkpoint
from streamcab.source.file import AudioFile, read_audio


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny", "licence": "none"}, "0123456789ab")


def test_a_file_is_announced_answered_and_ended(checkpoint, tmp_path):
    file = write_wav(tmp_path / "a.wav", talk(6), 8000)
    with serving(checkpoint, [AudioFile(file, "fast")]) as feed:
        heard = until(feed, ended("a"))
    kinds = defaultdict(list)
    for m in heard:
        if m.stream == "a":
            kinds[type(m)].append(m)
    assert kinds[ModelInfo][0].model == "0123456789ab"
    assert kinds[ModelInfo][0].name == "tiny"
    assert kinds[Status][0].source.startswith("file")
    samples, rate = read_audio(file)
    offline = Classifier(checkpoint).classify(samples, rate)
    last = predictions(heard)[-1]
    assert last.sample == len(samples)
    assert last.probs == pytest.approx(offline.probs, abs=1e-5)
    assert last.voiced_s == last.heard_s == offline.voiced_s
    assert last.top == offline.top


def test_every_prediction_of_a_file_is_what_the_python_interface_says(checkpoint, tmp_path):
    file = write_wav(tmp_path / "a.wav", talk(9, 16000, seed=5), 16000)
    with serving(checkpoint, [AudioFile(file, "fast")], every_s=0.25, window_s=3.0) as feed:
        served = predictions(until(feed, ended("a")))
    stream = Classifier(checkpoint).stream(16000, window_s=3.0, every_s=0.25)
    samples, _ = read_audio(file)
    own = stream.push(samples) + stream.finish()
    assert len(served) == len(own) > 30
    for a, b in zip(served, own, strict=True):
        assert (a.sample, a.state, a.voiced_s) == (b.sample, b.state, b.voiced_s)
        assert a.probs == pytest.approx(b.probs, abs=1e-5)
        assert a.now == pytest.approx(b.now, abs=1e-5)


def test_what_comes_in_pieces_and_can_wait_is_answered_by_its_own_time_alone(checkpoint):
    hand, voice, own = Hand(live=False), talk(5), Classifier(checkpoint).stream(8000, every_s=0.25)
    with serving(checkpoint, [hand], every_s=0.25) as feed:
        hand.begin("a", 0)
        heard = until(feed, lambda m: isinstance(m, Status))
        for at in range(0, len(voice), 4000):
            hand.bank.write(0, voice[at : at + 4000], time.monotonic())
            heard += until(feed, lambda m, at=at: isinstance(m, Status) and m.captured_s * 8000 >= at + 4000)
        hand.bank.finish(0)
        heard += until(feed, ended("a"))
    said = own.push(voice) + own.finish()
    assert [p.sample for p in predictions(heard)] == [p.sample for p in said]


def test_streams_side_by_side_do_not_touch_each_other(checkpoint, tmp_path):
    rates = {"one": 8000, "two": 16000, "three": 44100}
    files = {
        n: write_wav(tmp_path / f"{n}.wav", talk(4, r, seed=i), r) for i, (n, r) in enumerate(rates.items())
    }
    left = set(files)
    with serving(checkpoint, [AudioFile(f, "fast") for f in files.values()]) as feed:
        last = {}
        while left:
            message = until(feed, lambda m: isinstance(m, Prediction) and m.state == "ended")[-1]
            last[message.stream] = message
            left.discard(message.stream)
    for name, file in files.items():
        samples, rate = read_audio(file)
        assert last[name].probs == pytest.approx(
            Classifier(checkpoint).classify(samples, rate).probs, abs=1e-5
        )


def test_streams_come_and_go_and_their_slots_are_used_again(checkpoint):
    hand = Hand(rows=2)
    voices = {f"call-{i}": talk(3, seed=i) for i in range(5)}
    with serving(checkpoint, [hand], max_streams=2) as feed:
        for i, (name, voice) in enumerate(voices.items()):
            row = i % 2
            hand.begin(name, row)
            hand.bank.write(row, voice, 0.0)
            hand.bank.finish(row)
            last = until(feed, ended(name))[-1]
            assert last.probs == pytest.approx(Classifier(checkpoint).classify(voice, 8000).probs, abs=1e-5)
            assert name not in hand.released[:-1]
    assert hand.released == list(voices)
    assert hand.closed


def test_when_full_newcomers_are_refused_and_counted(checkpoint):
    hand = Hand()
    with serving(checkpoint, [hand], max_streams=1) as feed:
        hand.begin("first", 0)
        until(feed, lambda m: m.stream == "first")
        hand.begin("second", 1)
        status = until(feed, lambda m: isinstance(m, DaemonStatus) and m.counters.get("refused-full", 0) > 0)[
            -1
        ]
        assert status.counters["refused-full"] == 1
        assert status.counters["by-hand"] == 1
        assert status.streams == 1
        assert hand.released == ["second"]


def test_two_streams_of_one_name_are_told_apart(checkpoint):
    hand = Hand()
    with serving(checkpoint, [hand]) as feed:
        hand.begin("mic", 0)
        hand.begin("mic", 1)
        names = {m.stream for m in until(feed, lambda m: m.stream == "mic-2")}
    assert {"mic", "mic-2"} <= names


def test_a_late_daemon_skips_to_live_and_says_so(checkpoint):
    hand = Hand(seconds=20)
    with serving(checkpoint, [hand], max_lag_s=1.0) as feed:
        hand.begin("late", 0)
        hand.bank.write(0, talk(10), time.monotonic())
        message = until(feed, lambda m: isinstance(m, Prediction) and m.lost_ms > 0)[-1]
        status = until(feed, lambda m: isinstance(m, DaemonStatus) and m.counters.get("skips", 0) > 0)[-1]
    assert 9000 < message.lost_ms < 10000
    assert status.lost_ms == pytest.approx(message.lost_ms)


def test_without_speech_there_is_no_label(checkpoint):
    hand = Hand()
    with serving(checkpoint, [hand]) as feed:
        hand.begin("quiet", 0)
        hand.bank.write(0, np.zeros(8000, np.float32), 0.0)
        message = until(feed, lambda m: isinstance(m, Prediction) and m.sample >= 7800)[-1]
    assert message.state == "silent"
    assert (message.top, message.confidence, message.probs, message.now) == (None, None, {}, {})
    assert message.level_db is None
    assert message.voiced_s == 0


def test_a_lost_source_is_published_as_lost_and_as_live_again(checkpoint):
    hand = Hand()
    with serving(checkpoint, [hand], max_lag_s=9) as feed:
        line = hand.begin("mic", 0)
        hand.bank.write(0, talk(5), 0.0)
        until(feed, lambda m: isinstance(m, Prediction) and m.state == "live")
        line.move("lost", "the device is gone")
        status = until(feed, lambda m: isinstance(m, Status) and m.state == "lost")[-1]
        assert (status.source_state, status.detail) == ("lost", "the device is gone")
        line.move("reconnecting")
        until(feed, lambda m: isinstance(m, Status) and m.source_state == "reconnecting")
        line.move("live")
        hand.bank.skip(0, 8000, 0.0)
        hand.bank.write(0, talk(3), 0.0)
        back = until(feed, lambda m: isinstance(m, Prediction) and m.state == "live" and m.lost_ms > 0)[-1]
    assert back.lost_ms == 1000


def test_stopping_ends_every_stream_with_its_final_answer(checkpoint):
    hand, voice, stop = Hand(), talk(4), threading.Event()
    daemon = Daemon(checkpoint, [hand], Settings(ANYWHERE, max_lag_s=9))
    with Subscriber(daemon.endpoint) as feed:
        thread = threading.Thread(target=daemon.run, args=(stop, 20))
        thread.start()
        hand.begin("mic", 0)
        hand.bank.write(0, voice, time.monotonic())
        until(feed, lambda m: isinstance(m, Prediction))
        stop.set()
        thread.join(PATIENCE_S)
        last = until(feed, ended("mic"))[-1]
    assert last.probs == pytest.approx(Classifier(checkpoint).classify(voice, 8000).probs, abs=1e-5)
    assert hand.closed
    assert hand.released == ["mic"]


def test_a_source_that_cannot_start_frees_the_feed(checkpoint, tmp_path):
    hand = Hand()
    with pytest.raises(SourceError, match=r"missing\.wav"):
        Daemon(checkpoint, [hand, AudioFile(tmp_path / "missing.wav")], Settings(f"ipc://{tmp_path}/feed"))
    assert hand.closed
    with serving(checkpoint, [Hand()]) as feed:
        assert feed.recv(PATIENCE_S) is not None


def test_the_net_is_warm_before_a_source_starts(checkpoint):
    stepped = []

    class Told(TorchBackend):
        def step(self, slots, x, first, end):
            stepped.append(len(slots))
            return super().step(slots, x, first, end)

    class Cold(Hand):
        def start(self):
            assert stepped, "a source starts before the net has done a step"
            super().start()

    settings, stop = Settings(ANYWHERE), threading.Event()
    stop.set()
    Daemon(checkpoint, [Cold()], settings, Told(checkpoint.model, settings.max_streams)).run(stop)


def test_a_taken_endpoint_is_refused(checkpoint):
    with serving(checkpoint, [Hand()]) as feed, pytest.raises(FeedError, match=r"127\.0\.0\.1"):
        Daemon(checkpoint, [Hand()], Settings(feed.endpoint))


def test_a_model_of_the_clip_normaliser_is_refused_with_the_way_out():
    clip = Checkpoint(tiny_model(stages=SMALL_STAGES, normaliser="clip"))
    with pytest.raises(ConfigError, match=r"configs/live\.toml"):
        Daemon(clip, [Hand()], Settings(ANYWHERE))


def test_the_feed_serves_what_the_card_says_of_confidence(checkpoint, tmp_path):
    card = checkpoint.card | {"calibration": {"temperature": 0.5}, "abstain": {"below": 0.99}}
    warm = Checkpoint(checkpoint.model, card, checkpoint.hash)
    path = write_wav(tmp_path / "a.wav", talk(6), 8000)
    with serving(warm, [AudioFile(path, "fast")]) as feed:
        heard = until(feed, ended("a"))
    last = predictions(heard)[-1]
    samples, rate = read_audio(path)
    whole = Classifier(warm).classify(samples, rate)
    assert list(last.probs.values()) == pytest.approx(list(whole.probs.values()), abs=1e-5)
    bare = Classifier(checkpoint).classify(samples, rate)
    assert abs(last.confidence - bare.confidence) > 1e-3
    assert last.sure is False
    (model,) = {(m.temperature, m.abstain_below) for m in heard if isinstance(m, ModelInfo)}
    assert model == (0.5, 0.99)
