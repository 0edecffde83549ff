"""The probe of `bench calls`: a prediction's latency is that of the newest packet in it, once."""

import msgspec
import pytest
from health_feed import prediction

from streamcab.bench.probe import Probe
from streamcab.bench.traffic import Plan, Traffic


@pytest.fixture
def probe():
    traffic = Traffic(2, 3.0)
    plan = Plan(traffic)
    return Probe(traffic, plan), plan


def said(plan, serial, sample, **kw):
    name = f"rtp-127.0.0.1-5004-{int(plan.ssrc[serial]):08x}"
    return msgspec.structs.replace(prediction(), stream=name, sample=sample, state="live", **kw)


def test_what_tells_of_no_new_audio_has_waited_for_nothing(probe):
    probe, plan = probe
    probe.hear([said(plan, 0, 1600), said(plan, 0, 1600), said(plan, 1, 1600), said(plan, 0, 3200)], 1.0)
    assert probe.predictions == 3
    assert probe.messages == 4


def test_the_last_word_of_a_call_is_no_prediction_of_one_that_goes_on(probe):
    probe, plan = probe
    probe.hear([msgspec.structs.replace(said(plan, 1, 800), state="ended", lost_ms=12.0)], 1.0)
    assert probe.predictions == 0
    assert probe.ended.tolist() == [False, True]
    assert probe.lost_ms.tolist() == [0.0, 12.0]
