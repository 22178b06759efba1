"""The examples of `docs/architecture.md`: each is short, stands in the docs as it is, and works."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from IPython.display import HTML

from ondine_nb import Pipeline
from ondine_nb.providers import Provider
from tests.asking import texts
from tests.examples.executor import Gentle
from tests.examples.observer import Alarm
from tests.examples.provider import Shout
from tests.examples.stage import Length, Longest
from tests.examples.view import Line

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
EXAMPLES = sorted(path for path in HERE.glob("*.py") if not path.name.startswith(("test_", "__")))
PROMPT = "tell {text}"


def test_there_is_one_for_each_place() -> None:
    assert [path.stem for path in EXAMPLES] == ["executor", "observer", "provider", "stage", "view"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_less_than_30_lines(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 30


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_docs_show_an_example_as_it_is(example: Path) -> None:
    shown = f"```python\n{example.read_text()}```\n"
    assert any(shown in page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))


def test_the_provider_answers_and_the_journal_remembers_it(home: Path) -> None:
    provider: Provider = Shout()  # type: ignore[assignment]
    for answered in (3, 0):
        run = Pipeline(texts(3), PROMPT, provider=provider, journal=home)
        result = run.execute()
        assert list(result.data["response"]) == ["TELL TEXT 0", "TELL TEXT 1", "TELL TEXT 2"]
        assert result.costs.output_tokens == 3 * answered
        assert result.costs.total_cost == Decimal(0)


def test_the_stages_add_a_column_fail_a_row_and_sort_the_frame(home: Path) -> None:
    data = pd.DataFrame({"text": ["a", "bcd", "EF"]})
    stages = [Length("length"), Longest("longest")]
    result = Pipeline(data, "{text}", provider=Shout(), stages=stages, journal=home).execute()
    assert list(result.data["text"]) == ["bcd", "a", "EF"]
    assert list(result.data["length"])[:2] == [3, 1]
    assert [(error.row, error.message) for error in result.errors] == [
        (2, "the answer repeats the text")
    ]


def test_the_observer_stops_a_run_that_goes_wrong(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Repeats(Length):
        async def prepare(self, rows, context):  # type: ignore[no-untyped-def]
            for row in rows:
                row.fail(ValueError("no"), self.name)

    alarm = Alarm(0.1)
    Pipeline(
        texts(30),
        PROMPT,
        provider=Shout(),
        stages=[Repeats("repeats")],
        observers=[alarm],
        journal=home,
    ).execute()
    assert alarm.rang
    assert "30 of 30 rows failed" in capsys.readouterr().out


class Screen(list[str]):
    """Takes what is displayed, as IPython's `display` and its handle do."""

    def display(self, html: HTML, *, display_id: bool) -> Screen:
        self.update(html)
        return self

    def update(self, html: HTML) -> None:
        self.append(html.data)


def test_the_view_redraws_its_line_and_escapes_the_frames_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr("tests.examples.view.display", screen.display)
    line = Line()
    Pipeline(
        texts(3), PROMPT, provider=Shout(), name="<b>", observers=[line], journal=home
    ).execute()
    assert (screen[0], screen[-1]) == ("starting", "&lt;b&gt;: <b>3</b> of 3 rows")


async def test_the_executor_runs_one_row_after_another(home: Path) -> None:
    at_once: list[int] = []
    shout = Shout()
    plan = Pipeline(texts(5), PROMPT, provider=shout, journal=home).plan()
    send = shout.send

    async def counted(prompt: str):  # type: ignore[no-untyped-def]
        at_once.append(plan.context.metrics.in_flight)
        return await send(prompt)

    shout.send = counted  # type: ignore[method-assign]
    result = await Gentle().execute(plan.stages, plan.context)
    assert (result.metrics.processed_rows, set(at_once)) == (5, {1})
