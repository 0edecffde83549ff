"""OpenVINO, kept from telling its makers each time that it is imported: take it from here, never from openvino.

`import openvino` sends an event to Google Analytics, unasked, if the package openvino_telemetry is there, and does
without where it is not. tests/test_supply.py sees it if this ever fails.
"""

import sys

# None stands for a module that cannot be imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

__all__ = ["op", "ov"]
