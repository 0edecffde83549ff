"""A page for browsers: every live call, one call over its whole time, and the calls of a store."""
