"""Steps in pieces, several under way: by hand, with pieces that are done when a test asks."""

import numpy as np
import pytest

from streamcab.nn.backend.pieces import Batch, Pieces, RoundRobin, Step


class Doubling:
    """A piece of two streams that doubles the samples of each; `log` tells what was started and waited for."""

    def __init__(self, name, log, error=None):
        self.name, self.error, self._log = name, error, log

    def start(self, batch):
        self._log.append(("start", self.name, batch.slots.tolist()))
        self._answer = 2 * batch.x[:, :, None]

    def result(self):
        self._log.append(("result", self.name))
        if self.error is not None:
            raise self.error
        return self._answer


@pytest.fixture
def stage():
    return Stage()


class Stage:
    def __init__(self):
        self.log, self.pieces = [], Pieces(10)
        self.ready = RoundRobin([Doubling(i, self.log) for i in (0, 1)])

    def start(self, slots):
        x = np.array(slots, np.float32)[:, None]
        step = Step(self.pieces, np.empty((len(slots), 1, 1)))
        self.pieces.start(step, Batch(np.array(slots), x), [2], lambda size: self.ready.next())
        return step


def test_a_step_waits_for_nobody_until_its_pieces_are_used_up(stage):
    first = stage.start([0, 1])
    second = stage.start([2, 3])
    assert [what for what, *_ in stage.log] == ["start", "start"]
    third = stage.start([4, 5])
    assert [entry[:2] for entry in stage.log[2:]] == [("result", 1), ("start", 1)]
    for step, wanted in ((third, [8, 10]), (second, [4, 6]), (first, [0, 2])):
        assert step.wait().ravel().tolist() == wanted


def test_what_is_under_way_of_a_stream_is_waited_for_before_its_next_step(stage):
    stage.start([0, 1])
    stage.start([7, 1])
    assert [what for what, *_ in stage.log] == ["start", "result", "start"]
    stage.pieces.settle(np.array([3]))
    assert len(stage.log) == 3
    stage.pieces.settle(np.array([7]))
    assert stage.log[-1][0] == "result"


def test_an_error_is_told_to_its_own_step_each_time_and_to_no_other(stage):
    bad, good = stage.start([0, 1]), stage.start([2, 3])
    stage.ready.next().error = MemoryError("of the first")  # it was started first
    assert good.wait().ravel().tolist() == [4, 6]
    for _ in range(2):
        with pytest.raises(MemoryError, match="of the first"):
            bad.wait()
