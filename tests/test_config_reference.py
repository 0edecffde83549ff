"""docs/reference/configuration.md is made of the settings: it must not be older than they are."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_the_settings_make() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "make_configuration.py"))["text"]()
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert page == made, "run: python tools/make_configuration.py"
    assert "| `--max-lag` | a number, 0.5 to 9 s | `2` | **yes** |" in page
    assert "| `batch` | a whole number, positive | `128` |" in page
