"""Passes that fail: what it costs, who pays, and that it heals by itself. The failures are made to order."""

import threading
import time

import numpy as np
import pytest
import torch
from backends import Around
from patience import PATIENCE_S
from serving import ANYWHERE, Hand, ended, until
from speech import LONG_STAGES, SMALL_STAGES, detecting_model, talk, tiny_model

from streamcab.audio.ring import Bank
from streamcab.classifier import Classifier
from streamcab.daemon.loop import Daemon
from streamcab.daemon.settings import Settings
from streamcab.dsp.gate import MISSING
from streamcab.errors import ComputeError
from streamcab.feed import Subscriber
from streamcab.inference.engine import Engine
from streamcab.inference.retry import BROKEN_S, CALM_S, STRIKES, Retry
from streamcab.message import DaemonStatus, Prediction, Status
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(tiny_model(3, stages=SMALL_STAGES), {"name": "tiny"}, "0123456789ab")


class Brittle(Around):
    """A backend that fails when it is told to: `fails(slots)` gives an exception, or nothing.

    `later`: not when a step is begun, but when its answer is waited for.
    """

    def __init__(self, checkpoint, slots):
        super().__init__(TorchBackend(checkpoint.model, slots))
        self.fails = lambda slots: None
        self.later = False
        self.sizes = []

    def start(self, slots, *args):
        error = self.fails(slots)

        def fail():
            raise error

        if error is not None:
            return fail if self.later else fail()
        self.sizes.append(len(slots))
        return self.inside.start(slots, *args)


class Stage:
    """An engine of `n` streams that hear the same voice, through a Retry."""

    def __init__(self, checkpoint, n, seconds=20):
        self.backend = Brittle(checkpoint, n)
        self.engine = Engine(checkpoint.model, n, self.backend)
        self.retry = Retry(self.engine)
        self.bank = Bank(8000, n, seconds * 8000)
        self.voice = talk(seconds, pauses=False)
        self.slots = np.array([self.engine.attach(self.bank, row) for row in range(n)])
        self.now, self.at = 0.0, 0
        self.emitted = [{} for _ in range(n)]

    def hear(self, seconds, step=0.1):
        for _ in range(round(seconds / step)):
            n = round(step * 8000)
            for row in range(self.bank.rows):
                self.bank.write(row, self.voice[self.at : self.at + n], self.now)
            self.at += n
            self.now += step
            for e in self.retry.advance(np.sort(self.slots), self.now):
                for i, slot in enumerate(e.slots.tolist()):
                    for j in range(e.c.shape[1]):
                        if e.first[i] + j >= 0:
                            self.emitted[slot][int(e.first[i]) + j] = (e.c[i, j], int(e.kind[i, j]))


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError("Unable to allocate 3.00 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ZeroDivisionError("a defect of ours"),
]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_a_pass_that_fails_is_a_gap_and_what_comes_after_it_is_exact(checkpoint, error, later):
    check_a_failed_pass(checkpoint, error, most_ms=400, later=later)


def test_the_gap_is_as_long_as_the_net_remembers():
    check_a_failed_pass(Checkpoint(tiny_model(3, stages=LONG_STAGES), {}, ""), ERRORS[0], most_ms=1200)


def check_a_failed_pass(checkpoint, error, most_ms, later=False):
    sound, struck = Stage(checkpoint, 3), Stage(checkpoint, 3)
    struck.backend.later = later
    for stage in (sound, struck):
        stage.hear(4)
        if stage is struck:
            stage.backend.fails = lambda slots: error
        stage.hear(0.1)
        stage.backend.fails = lambda slots: None
        stage.hear(4)
    assert struck.retry.failures == 1
    assert type(error).__name__ in struck.retry.in_words(struck.now)
    for slot in range(3):
        heard = {k: c for k, (c, kind) in struck.emitted[slot].items() if kind != MISSING}
        assert struck.engine.stepped[slot] == struck.engine.normaliser.taken[slot]
        for k, c in heard.items():
            np.testing.assert_allclose(c, sound.emitted[slot][k][0], atol=1e-6)
        all_of_it = {k for k, (_, kind) in sound.emitted[slot].items() if kind != MISSING}
        lost = sorted(all_of_it - heard.keys())
        assert len(lost) <= 4 + struck.engine.delay + struck.engine.architecture.memory
        assert lost == list(range(lost[0], lost[-1] + 1))
        lost_ms = struck.engine.dropped[slot] / 8
        assert 0 < len(lost) * 25 <= lost_ms <= most_ms


def test_what_has_no_room_together_goes_in_halves_and_together_again_after_a_while(checkpoint):
    stage = Stage(checkpoint, 8)
    stage.hear(2)
    stage.backend.fails = lambda slots: MemoryError("too many") if len(slots) > 2 else None
    stage.backend.sizes.clear()
    stage.hear(1)
    assert stage.retry.failures == 2  # of 8, of 4
    assert set(stage.backend.sizes) == {2}
    stage.backend.fails = lambda slots: None
    stage.hear(2 * CALM_S + 0.5)
    stage.backend.sizes.clear()
    stage.hear(0.2)
    assert set(stage.backend.sizes) == {8}
    assert stage.retry.in_words(stage.now + 20) == ""


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_one_stream_that_always_fails_is_hopeless_and_the_others_are_heard(checkpoint, later):
    stage = Stage(checkpoint, 8)
    stage.backend.later = later
    stage.hear(2)
    bad = 5
    stage.backend.fails = lambda slots: ValueError("of this stream") if bad in slots else None
    stage.hear(3)
    assert stage.retry.hopeless.keys() == {bad}
    assert "of this stream" in stage.retry.hopeless[bad]
    # Struck together with it: once in the whole, once each in half, quarter and eighth.
    assert stage.retry.failures >= 3 + STRIKES
    for slot in set(range(8)) - {bad}:
        assert stage.engine.dropped[slot] / 8 < 3 * 400
        assert max(stage.emitted[slot]) > 40 * 5 - 2 * stage.engine.delay


def test_a_net_that_only_fails_is_given_up(checkpoint):
    stage = Stage(checkpoint, 2)
    stage.hear(2)
    stage.backend.fails = lambda slots: RuntimeError("CUDA error: unspecified launch failure")
    with pytest.raises(ComputeError, match=r"every pass has failed for 10 s.*unspecified launch failure"):
        stage.hear(BROKEN_S + 2)
    assert stage.now > 2 + BROKEN_S


@pytest.mark.parametrize("detector", [False, True], ids=["level", "detector"])
def test_a_failure_within_the_normaliser_starts_that_stream_anew(checkpoint, monkeypatch, detector):
    hearing = Checkpoint(detecting_model(1, stages=SMALL_STAGES, classifiers=8))
    stage = Stage(hearing if detector else checkpoint, 2)
    stage.hear(4)
    push = stage.engine.normaliser.push

    def torn(slots, pooled):
        push(slots, pooled)
        raise MemoryError("in the middle")

    monkeypatch.setattr(stage.engine.normaliser, "push", torn)
    stage.hear(0.1)
    monkeypatch.setattr(stage.engine.normaliser, "push", push)
    stage.hear(4)
    assert stage.retry.failures == 1
    np.testing.assert_array_equal(stage.engine.stepped, stage.engine.normaliser.taken)
    np.testing.assert_array_equal(stage.engine.heard, stage.engine.normaliser.pushed)
    assert all(max(e) > 40 * 8 - 2 * stage.engine.delay for e in stage.emitted)


# -- the daemon ----------------------------------------------------------------------------------------------


def test_the_daemon_goes_on_says_so_and_every_stream_is_answered(checkpoint, caplog):
    backend, hand, stop = Brittle(checkpoint, 4), Hand(live=False), threading.Event()
    daemon = Daemon(checkpoint, [hand], Settings(ANYWHERE, max_streams=4), backend)
    thread = threading.Thread(target=daemon.run, args=(stop, 20))
    voices = {f"call-{row}": talk(5, seed=row) for row in range(4)}
    with Subscriber(daemon.endpoint) as feed:
        thread.start()
        for row, name in enumerate(voices):
            hand.begin(name, row)
            hand.bank.write(row, voices[name], 0.0)
        seen = set()
        while len(seen) < 4:
            seen.add(until(feed, lambda m: isinstance(m, Prediction) and m.heard_s > 1)[-1].stream)
        # One stream is poison; it is known by its slot.
        bad = daemon._streams.slots[0]
        name = daemon._streams[int(bad)].name
        backend.fails = lambda slots: torch.OutOfMemoryError("no memory") if bad in slots else None
        for row, voice in enumerate(voices.values()):
            hand.bank.write(row, voice, 0.0)
        status = until(feed, lambda m: isinstance(m, Status) and m.stream == name and m.state == "ended")[-1]
        assert "an error inside streamcab: OutOfMemoryError: no memory" in status.detail
        told = until(feed, lambda m: isinstance(m, DaemonStatus) and "a pass failed" in m.detail)[-1]
        assert told.counters["passes-failed"] >= STRIKES
        assert told.streams == 3
        backend.fails = lambda slots: None
        for row in range(4):
            hand.bank.finish(row)
        others = set(voices) - {name}
        while others:
            last = until(feed, lambda m: any(ended(other)(m) for other in others))[-1]
            others.discard(last.stream)
            assert last.top is not None
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert any("a pass failed" in r.getMessage() for r in caplog.records)


def test_a_daemon_whose_net_is_broken_ends_with_its_last_words(checkpoint, monkeypatch):
    monkeypatch.setattr("streamcab.inference.retry.BROKEN_S", 0.5)
    backend, hand = Brittle(checkpoint, 2), Hand()
    daemon = Daemon(checkpoint, [hand], Settings(ANYWHERE, max_streams=2, max_lag_s=9), backend)
    died = []

    def body():
        try:
            daemon.run(threading.Event(), 20)
        except ComputeError as error:
            died.append(error)

    thread = threading.Thread(target=body)
    with Subscriber(daemon.endpoint) as feed:
        thread.start()
        hand.begin("mic", 0)
        hand.bank.write(0, talk(3), time.monotonic())
        until(feed, lambda m: isinstance(m, Prediction) and m.heard_s > 1)
        backend.fails = lambda slots: RuntimeError("CUDA error: the GPU is lost")
        while thread.is_alive():
            hand.bank.write(0, talk(1), time.monotonic())
            thread.join(0.05)
        last = until(feed, ended("mic"))[-1]
    assert "the GPU is lost" in str(died[0])
    assert last.top is not None
    assert hand.closed


def test_without_a_failure_nothing_changes(checkpoint):
    stage = Stage(checkpoint, 1)
    stage.hear(5)
    stage.bank.finish(0)
    emitted = stage.retry.advance(None, stage.now)
    assert emitted
    assert stage.retry.in_words(stage.now) == ""
    whole = Classifier(checkpoint).classify(stage.voice[: stage.at], 8000)
    assert whole.top is not None
    assert stage.engine.dropped[0] == 0
