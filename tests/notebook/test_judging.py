"""`%ondine score` and `%ondine labels`: what they show, refuse, and offer on Tab."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import ondine_nb
from ondine_nb import Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.evaluation import LabelSet, Scores, Tries, Try, TryScore
from ondine_nb.notebook.arguments import candidates
from ondine_nb.notebook.judging import examples_named, judging_candidates, run_named
from tests.asking import Asker
from tests.server import MessagesServer

NAMES = ["glad", "sad", "glad"]


@pytest.fixture
def run(shell: InteractiveShell, tmp_path: Path) -> Iterator[Run]:
    """A run whose result is called `labeled`, in the shell as `%%ondine` leaves it."""
    texts = [f"text {at}" for at in range(3)]
    data = pd.DataFrame({"text": texts, "truth": NAMES})
    with MessagesServer(answer=lambda body: '{"mood": "glad", "why": "so"}') as server:
        asker = Asker(server, tmp_path)
        run = Run(
            asker.pipeline(data, schema="mood: glad|sad, why: str", journal=None), name="labeled"
        )
        run.execute()
        truth = data[["text"]].assign(mood=["glad", "sad", "sad"])
        shell.user_ns.update(labeled=run.frame, labeled_run=run, judged=truth)
        yield run


def shown(shell: InteractiveShell, line: str) -> Any:
    with capture_output() as captured:
        shell.run_line_magic("ondine", line)
    (output,) = captured.outputs
    return output


def test_scores_are_shown_by_a_column_a_frame_and_by_review(
    shell: InteractiveShell, run: Run
) -> None:
    by_column = shown(shell, "score labeled mood --labels truth")
    assert "66.7 % right" in by_column.data["text/plain"]
    assert "66.7 % right" in by_column.data["text/html"]
    by_frame = shown(shell, "score labeled_run --labels $judged")
    assert "33.3 % right" in by_frame.data["text/plain"]
    ondine_nb.labels(shell.user_ns["judged"], into="labeled", on="text")
    by_review = shown(shell, "score labeled")
    assert "33.3 % right" in by_review.data["text/plain"]
    assert isinstance(run.score(), Scores)


def test_labels_are_shown_of_a_run_and_of_one_whose_kernel_is_gone(
    shell: InteractiveShell, run: Run
) -> None:
    LabelSet("labeled").add({"text": "text 1"}, {"mood": "sad"}, reviewer="ann")
    assert "text 1" in shown(shell, "labels labeled").data["text/plain"]
    del shell.user_ns["labeled_run"]
    assert "ann" in shown(shell, "labels labeled").data["text/plain"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("score", "write it like %ondine score OUT"),
        ("score labeled mood why", "write it like %ondine score OUT"),
        ("score labelled", "no run 'labelled' in this notebook: did you mean 'labeled'"),
        ("score labeled mod --labels truth", "has no field 'mod': did you mean 'mood'"),
        ("score labeled mood --labels", "--labels needs a column"),
        ("score labeled mood --labels trth", "did you mean 'truth'"),
        ("score labeled mood --labels $nope", "no variable 'nope'"),
        ("score labeled", "nothing is labelled yet"),
        ("score 'labeled", "a quote isn't closed"),
        ("labels", "write it like %ondine labels OUT"),
        ("labels nothing", "there are no labels of 'nothing'"),
        ("tries", "write it like %ondine tries FRAME"),
    ],
)
def test_what_cant_be_shown_is_a_usage_error_in_one_line(
    shell: InteractiveShell, run: Run, line: str, told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        shell.run_line_magic("ondine", line)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("score ", ["labeled"]),
        ("score la", ["labeled"]),
        ("score labeled ", ["mood", "why", "--labels"]),
        ("score labeled mo", ["mood"]),
        ("score labeled mood ", ["--labels"]),
        ("score labeled mood --labels tr", ["truth"]),
        ("score labeled mood --labels ju", ["judged"]),
        ("labels ", ["labeled", "old"]),
        ("stop ", ["labeled"]),
        ("tries ", ["reviews", "labeled", "judged"]),
        ("tries re", ["reviews"]),
        ("models ", []),
    ],
)
def test_tab_offers_runs_fields_and_labels(
    shell: InteractiveShell, run: Run, line: str, offered: list[str]
) -> None:
    LabelSet("old").add({"text": "text 1"}, {"mood": "sad"})
    Tries("reviews").keep(Try({"prompt": "{text}"}))
    assert judging_candidates(f"%ondine {line}", shell.user_ns) == offered
    shell.Completer.use_jedi = False
    with provisionalcompleter():
        found = list(shell.Completer.completions(f"%ondine {line}", len(line) + 8))
    assert set(offered) <= {each.text for each in found}


def test_a_run_is_known_by_its_result_s_name_or_its_own(shell: InteractiveShell, run: Run) -> None:
    assert run_named("labeled", shell.user_ns) is run_named("labeled_run", shell.user_ns) is run


def listed(shell: InteractiveShell, line: str) -> str:
    with capture_output() as captured:
        shell.run_line_magic("ondine", line)
    return str(captured.stdout)


def test_tries_are_listed_as_text_the_last_one_first(shell: InteractiveShell, home: Path) -> None:
    tries = Tries("reviews")
    score = TryScore("mood", "accuracy", 40, 0.85, 0.71, 0.93, 0.849)
    counts: dict[str, Any] = {"rows": 40, "answered": 40, "p50": 0.8, "scores": [score]}
    tries.keep(Try({"prompt": "Rate {text}", "model": "haiku"}, cost=Decimal("0.0018"), **counts))
    tries.keep(Try({"prompt": "Rate {text}", "model": "sonnet"}, rows=40, answered=12))
    tries.note(2, "dear\x1b[31m")
    heads, two, one = listed(shell, "tries reviews").splitlines()
    assert heads.split()[:4] == ["changed", "model", "rows", "right"]
    assert two.split()[:9] == "v2 model haiku → sonnet sonnet 12 of 40".split()  # noqa: SIM905
    assert two.split()[9:] == ["–", "–", "–", "–", "dear␛[31m"]
    assert one.split("  ")[0] == "v1"
    for cell in ("first prompt", "0.85 (0.71 to 0.93)", "0.85  ", "$0.045", "800 ms"):
        assert cell in one
    assert one.index("haiku") == two.rindex("sonnet") == heads.index("model")


def test_where_nothing_was_tried_yet_it_says_where_to_begin(
    shell: InteractiveShell, home: Path
) -> None:
    said = listed(shell, "tries reviews")
    assert said == "no tries of reviews yet: preview a prompt in %ondine panel reviews\n"
    Tries("reviews").keep(Try({"prompt": "{text}"}))
    assert "did you mean 'reviews'?" in listed(shell, "tries review")


# -- examples


def test_a_name_is_a_label_set_before_it_is_a_frame(shell: InteractiveShell, run: Run) -> None:
    gold = pd.DataFrame({"text": ["a", "b"], "mood": ["glad", "sad"]})
    shell.user_ns["gold"] = gold
    named = examples_named("gold", shell.user_ns)
    assert (named.name, named.native is gold) == ("gold", True)
    assert examples_named(gold, shell.user_ns).name == "gold"
    LabelSet("gold").add({"text": "text 1"}, {"mood": "sad"})
    assert examples_named("gold", shell.user_ns) == "gold"
    assert examples_named("nobody", shell.user_ns) == "nobody"


def test_a_result_that_nobody_has_labelled_is_no_example(shell: InteractiveShell, run: Run) -> None:
    with pytest.raises(ConfigurationError, match=r"the model's own, and none is labelled: label"):
        examples_named("labeled", shell.user_ns)
    assert examples_named(shell.user_ns["labeled"], shell.user_ns).name == "labeled"
    LabelSet("labeled").add({"text": "text 1"}, {"mood": "sad"})
    assert examples_named("labeled", shell.user_ns) == "labeled"


def test_a_cell_shows_the_examples_that_it_names_and_a_resume_finds_the_frame(
    shell: InteractiveShell,
) -> None:
    shell.user_ns["gold"] = pd.DataFrame({"text": ["a day", "b night"], "mood": ["glad", "sad"]})
    shell.user_ns["rows"] = pd.DataFrame({"text": ["one row", "two rows"]})
    with MessagesServer(answer=lambda body: '{"mood": "glad"}') as server:
        line = f"out -i rows --quiet --base-url {server.url} --schema 'mood: glad|sad'"
        for name in ("gold", "$gold"):
            shell.run_cell_magic("ondine", f"{line} --examples {name} --shots 2", "Say {text}")
            assert shell.user_ns["out_run"].pipeline.examples.name == "gold"
        assert server.ledger.requests == 2
        assert all("<input>\nb night\n</input>" in it.prompt for it in server.ledger.entries)
        shell.run_line_magic("ondine", "resume out")
        assert shell.user_ns["out_run"].pipeline.examples.name == "gold"
        assert server.ledger.requests == 2
        del shell.user_ns["gold"]
        with pytest.raises(UsageError, match="examples are the frame 'gold'"):
            shell.run_line_magic("ondine", "resume out")


def test_tab_offers_label_sets_and_frames_behind_examples(shell: InteractiveShell) -> None:
    LabelSet("moods").add({"text": "a"}, {"mood": "sad"})
    shell.user_ns["gold"] = pd.DataFrame({"text": ["a"]})
    assert candidates("%%ondine out --examples ", shell.user_ns) == ["moods", "gold"]
