"""How long tests wait for what must happen."""

PATIENCE_S = 120.0
"""A deadline for what comes in milliseconds on an idle machine: it tells a hang from a machine that is very busy."""
