"""A backend around another one, for tests that slow it, break it or change what it says."""

import numpy as np
from numpy.typing import NDArray

from streamcab.nn.backend import Backend, State


class Around:
    """Hands everything but `start` to the backend inside."""

    def __init__(self, inside: Backend) -> None:
        self.inside, self.bytes_per_slot = inside, inside.bytes_per_slot

    def reset(self, slots: NDArray[np.intp]) -> None:
        self.inside.reset(slots)

    def state(self, slot: int) -> State:
        return self.inside.state(slot)

    def restore(self, slots: NDArray[np.intp], state: State) -> None:
        self.inside.restore(slots, state)
