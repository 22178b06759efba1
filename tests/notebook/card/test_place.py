"""What stands under a card is output of its cell, whoever causes it to be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebook.kernels import Kernel
from tests.server import MessagesServer

# As the run's own redraws come too late: what is due is shown by what comes next.
DUE = """
view = next(it for it in out_run.context.observers if hasattr(it, "_stand_in_due"))
view.on_progress_update = lambda _: None
view._stand_in_due = 0.0
button = view._widgets._{}.model_id
"""


@pytest.mark.parametrize("button", ["show_failed", "pause", "stop"])
def test_what_a_click_shows_first_stands_in_the_cell_of_the_card(
    tmp_path: Path, button: str
) -> None:
    with MessagesServer() as server, Kernel(tmp_path) as kernel:
        server.pause()
        kernel.run("import pandas as pd\nframe = pd.DataFrame({'text': ['a', 'b', 'c']})")
        line = f"%%ondine out -i frame --background --base-url {server.url}"
        cell = kernel.start_in_lab(f"{line}\nTell {{text}}")
        kernel.finish(cell)
        server.wait_for(3)
        kernel.run(DUE.format(button))
        kernel.click(kernel.value("button"))
        saved = kernel.shown('"ondine-saved"')
        assert saved["msg_type"] == "display_data"
        assert saved["parent_header"]["msg_id"] == cell
        server.resume()
        kernel.wait("out_run.state in ('done', 'stopped')")
