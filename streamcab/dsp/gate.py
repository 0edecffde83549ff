"""The gate: the kinds of intervals, and how loud an interval of speech must be to be voiced.

All thresholds are relative to the stream's own level, so that loudness changes nothing. Knows nothing of streams, of
their state or of normalisation.
"""

import numpy as np
from numpy.typing import NDArray

SILENT, VOICED, MISSING, SOUND = 0, 1, 2, 3
"""Kinds of intervals. SOUND, with a detector only: as loud as speech, but no speech."""

FLOOR_S = 2.0
"""Seconds over which the lowest level is taken as the noise floor."""
ABOVE_FLOOR = 8.0
"""Power ratio, 9 dB: how far speech stands above the noise floor."""
BELOW_SPEECH = 1e-3
"""Power ratio, -30 dB: speech leaves as much in its pauses when a noise gate makes the floor zero."""
NEAR_SPEECH = 0.01
"""Power ratio, -20 dB: speech, by the detector, that is this near the mean level of speech counts in any noise."""
LOUD = 0.25
"""Power ratio to the mean level of speech, -6 dB: from here on, an interval without speech is SOUND."""
POWER_FLOOR = 1e-10
"""Power, -100 dB of full scale: below the last of 16 bits."""
ONSET_S = 0.1
"""Voiced seconds that a hold must contain to be speech and not a click."""
ONSET_HEARD_S = 0.2
"""The same with a speech detector."""

Floats = NDArray[np.float64]


def threshold(floor: Floats, speech: Floats, detected: bool) -> Floats:
    """Return the power above which an interval of speech is voiced, in any shape.

    Args:
        floor: Lowest power of the last `FLOOR_S`; infinity if there is none.
        speech: Mean power of the voiced samples.
        detected: Whether a speech detector identifies speech.
    """
    above = ABOVE_FLOOR * floor
    if detected:
        above = np.minimum(above, NEAR_SPEECH * speech)
    return np.maximum(np.maximum(above, BELOW_SPEECH * speech), POWER_FLOOR)
