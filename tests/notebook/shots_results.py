"""Draws the static results view to be looked at: `python -m tests.notebook.shots_results FOLDER`.

In every theme of `shots.py` and three widths, and once with all style stripped (as GitHub shows
it). Prints each text whose contrast is below 4.5:1. The live view is drawn in JupyterLab, by
`ONDINE_SHOTS=FOLDER pytest tests/browser/test_results.py -k fits`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from ondine_nb.notebook.results.page import static, summary_of
from ondine_nb.notebook.results.query import Results
from tests.chromium import launched

from .ended_runs import ended_run, reviews
from .shots import CONTRAST, THEMES, stripped

LOW = CONTRAST.replace(".ondine-run *, .ondine-view button", ".ondine-r *")
PAGE = '<meta charset="utf-8"><body style="margin:8px 16px;{}">{}</body>'


def shoot(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as journal:
        results = Results(ended_run(reviews(10_000), Path(journal)))
        html = static(results, summary_of(results), "shown")
    with launched() as browser:
        for theme, (style, prefers) in THEMES.items():
            scheme: Any = prefers
            page = browser.new_page(color_scheme=scheme)
            for width in (480, 800, 1200):
                page.set_viewport_size({"width": width, "height": 400})
                page.set_content(PAGE.format(style, html))
                page.screenshot(path=folder / f"static-{theme}-{width}.png", full_page=True)
            for line in page.evaluate(LOW):
                print(f"{theme}: contrast {line}")
        page = browser.new_page()
        page.set_content(PAGE.format("", stripped(html)))
        page.screenshot(path=folder / "static-stripped.png", full_page=True)


if __name__ == "__main__":
    shoot(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
