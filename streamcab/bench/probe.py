"""The measuring subscriber: when each prediction arrived, and which packet it answers.

Latency of a prediction is the time from when the packet that carries its newest sample (`sample` - 1) was
due to be sent, by the plan, to when the subscriber had decoded the message. A late sender counts against
the result. Knows nothing of processes.
"""

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from streamcab.bench.habits import other_format
from streamcab.bench.traffic import Plan, Traffic
from streamcab.message import AnyMessage, DaemonStatus, Prediction, Status

EARLY_S = 30.0
"""A call is new for so long."""


class Probe:
    """Collects the feed's messages about the calls of a plan."""

    def __init__(self, traffic: Traffic, plan: Plan) -> None:
        self._traffic, self._plan = traffic, plan
        self._serial, self._sample = array("i"), array("q")
        self._at, self._lag = array("d"), array("f")
        self._known: dict[str, int | None] = {}
        self._heard = np.zeros(plan.calls, np.int64)
        self.appeared = np.full(plan.calls, np.nan)
        """Monotonic time of the first message about each call."""
        self.lost_ms = np.zeros(plan.calls)
        self.ended = np.zeros(plan.calls, np.bool_)
        self.messages = 0
        self.strangers = 0
        """Messages about streams that are no calls of the plan."""
        self.status: DaemonStatus | None = None
        self.pass_ms = 0.0
        self.most_streams = 0
        self.details: dict[str, int] = {}
        self.statuses: list[tuple[float, DaemonStatus]] = []
        """All that the daemon said of itself, and when, as monotonic time."""
        self.early_lost_ms = np.zeros(plan.calls)
        """Return the audio that each call lost in the first EARLY_S after its admission."""
        self._lost_at_first = np.full(plan.calls, np.nan)
        self.changed: set[int] = set()
        """Calls of which the feed has said that they have changed their codec."""
        self._other = f"RTP {other_format(traffic).name.upper()} "

    def hear(self, messages: Iterable[AnyMessage], now: float) -> None:
        """Note the messages that had been decoded by `now`."""
        for m in messages:
            self.messages += 1
            if isinstance(m, DaemonStatus):
                self._daemon(m, now)
                continue
            serial = self._known.get(m.stream, -1)
            if serial == -1:
                serial = self._known[m.stream] = self._plan.serial(m.stream)
                if serial is not None:
                    self.appeared[serial] = now
            if serial is None:
                self.strangers += 1
            elif isinstance(m, Status):
                if m.source.startswith(self._other):
                    self.changed.add(serial)
            elif isinstance(m, Prediction):
                self.lost_ms[serial] = m.lost_ms
                if m.sample <= EARLY_S * m.rate:
                    self._early(serial, m.lost_ms)
                if m.state == "ended":
                    self.ended[serial] = True
                elif m.sample > self._heard[serial]:
                    # One that tells of no new audio, only of its source, has waited for nothing.
                    self._heard[serial] = m.sample
                    self._serial.append(serial)
                    self._sample.append(m.sample)
                    self._at.append(now)
                    self._lag.append(m.lag_ms)

    def _early(self, serial: int, lost_ms: float) -> None:
        if np.isnan(self._lost_at_first[serial]):
            self._lost_at_first[serial] = lost_ms
        self.early_lost_ms[serial] = lost_ms - self._lost_at_first[serial]

    def _daemon(self, status: DaemonStatus, now: float) -> None:
        self.status = status
        self.statuses.append((now, status))
        self.pass_ms = max(self.pass_ms, status.pass_ms)
        self.most_streams = max(self.most_streams, status.streams)
        if status.detail:
            self.details[status.detail] = self.details.get(status.detail, 0) + 1

    @property
    def predictions(self) -> int:
        """Number of predictions of calls that went on."""
        return len(self._serial)

    def latencies(
        self,
        start: float,
        heard_from: NDArray[np.int64],
        *,
        since: float | None = None,
        until: float = np.inf,
    ) -> NDArray[np.float64]:
        """Return the milliseconds from the sending of the packet that a prediction has heard last to the prediction.

        Args:
            start: The plan's zero as monotonic time.
            heard_from: Shape (calls,), the first packet sent of each call.
            since: Predictions that arrived from this monotonic time on; all whose packet was sent after all calls had
                settled, if not given.
            until: Predictions that arrived before this monotonic time.
        """
        serial = np.array(self._serial, np.int64)
        packet = (np.array(self._sample, np.int64) - 1) // self._traffic.samples
        packet += np.maximum(heard_from[serial], 0)
        at = np.array(self._at)
        some = self._plan.first[serial] + packet >= self._plan.steady if since is None else at >= since
        some &= at < until
        due = self._plan.due(serial[some], packet[some])
        latency: NDArray[np.float64] = (at[some] - start - due) * 1000
        return latency

    def rhythm(self, since: float, until: float) -> float:
        """Return the predictions per second of each stream between two monotonic times."""
        at = np.array(self._at)
        return float(np.count_nonzero((at >= since) & (at < until))) / (until - since) / self._plan.streams

    def lags(self) -> NDArray[np.float64]:
        """Return the lags that the daemon states, `lag_ms` of each prediction."""
        return np.array(self._lag, np.float64)
