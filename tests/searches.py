"""How many examples a search draws where each is dear: few that are the same in every `make test`, more at random."""

from hypothesis import settings


def examples(few: int, more: int) -> settings:
    """Settings of a search: `more` examples where each run draws others, as in `make test-all`."""
    return settings(max_examples=few if settings().derandomize else more, deadline=None)
