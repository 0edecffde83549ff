"""Which device a user's word means, and how many threads the net may have: on this machine, whatever it has."""

import os

import pytest
import torch

from streamcab.errors import ConfigError
from streamcab.nn.device import THREADS, device_for, threads_for_many

CUDA = torch.cuda.is_available()


def test_the_cpu_is_there_always_and_auto_is_what_there_is():
    assert device_for("cpu") == "cpu"
    assert device_for("auto") == ("cuda" if CUDA else "cpu")


@pytest.mark.parametrize("word", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps"])
def test_another_word_is_refused_with_those_that_can_be(word):
    with pytest.raises(ConfigError, match=f"compute is '{word}'; it can be auto, cpu, cuda or cuda:N"):
        device_for(word)


@pytest.mark.skipif(CUDA, reason="there is a CUDA device here")
@pytest.mark.parametrize("word", ["cuda", "cuda:0", "cuda:7"])
def test_a_device_that_is_not_there_is_refused_with_what_to_do(word):
    with pytest.raises(ConfigError, match=f"compute is '{word}', but torch finds no CUDA device here"):
        device_for(word)


@pytest.mark.skipif(not CUDA, reason="no CUDA device here")
def test_a_device_beyond_the_last_is_refused():
    count = torch.cuda.device_count()
    assert device_for(f"cuda:{count - 1}") == f"cuda:{count - 1}"
    with pytest.raises(ConfigError, match=f"there are {count} CUDA devices"):
        device_for(f"cuda:{count}")


def test_threads_are_no_more_than_the_cores_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    assert threads_for_many() == min(len(allowed), THREADS)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads_for_many() == 1
    finally:
        os.sched_setaffinity(0, allowed)
