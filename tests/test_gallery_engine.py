"""The notebooks of `notebooks/` that are about the engine; see `tests/test_gallery.py`."""

from __future__ import annotations

from pathlib import Path

from tests.gallery import execute, facts


def test_a_budget_holds_a_stop_keeps_and_a_resume_pays_nothing_twice(tmp_path: Path) -> None:
    ask = [
        "float(spent_first)",
        "sorted_clauses_run.rows['status'].value_counts().to_dict()",
        "stopped_at, odd_run.state",
        "odd_run.rows['status'].value_counts().to_dict()",
        "int(odd['unusual'].notna().sum()), server.books()['billed']",
        "sorted_clauses_run.estimate.low <= sorted_clauses_run.cost <= 0.05",
    ]
    found = facts(execute("budget-stop-resume", tmp_path, ask=ask))
    spent, second, stopped_at, state, resumed, odd, billed, in_range = found
    assert 0 < spent <= 0.001
    assert 0 < second["journal"] < 54
    assert second["journal"] + second["answered"] == 54
    assert 12 <= stopped_at < 54
    assert state == "done"
    assert resumed == {"journal": stopped_at, "answered": 54 - stopped_at}
    assert (odd, billed) == (54, 108)
    assert in_range


def test_a_batch_costs_half_and_the_next_one_has_only_what_is_new(tmp_path: Path) -> None:
    ask = [
        "batch.total_cost * 2 == single.total_cost, batch.high < single.high",
        "paid == saved, batch.low <= paid <= batch.high",
        "len(themed), int(themed['theme'].notna().sum()), len(themed_run.errors)",
        "themed_run.rows['status'].value_counts().to_dict()",
        "server.books()['billed']",
    ]
    found = facts(execute("batches", tmp_path, ask=ask))
    assert found[:4] == (True, True, True, True)
    assert found[4:7] == (104, 104, 0)
    assert found[7] == {"journal": 100, "answered": 4}
    assert found[8] == 104


def test_the_reviews_of_each_theme_become_one_finding_that_names_its_rows(tmp_path: Path) -> None:
    ask = [
        "len(reviews), len(findings), list(findings.columns)",
        "list(themed['theme'].iloc[named['rows']]) == list(named['theme'])",
        "int(findings['says'].str.findall('[0-9]+').explode().astype(int).sum())",
        "themed_run.context.metrics.requests, findings_run.context.metrics.requests",
        "findings_run.rows['status'].value_counts().to_dict()",
    ]
    found = facts(execute("findings", tmp_path, ask=ask))
    assert found[:3] == (800, 5, ["theme", "says", "rows"])
    assert found[4] == 801  # every review is counted once, through parts and merges
    assert found[5] == 1
    assert found[6] <= 3
    assert found[7] == {"journal": 4, "answered": 1}


def test_a_file_streams_into_another_while_the_memory_stays_flat(tmp_path: Path) -> None:
    ask = [
        "ROWS, result.metrics.processed_rows, pl.scan_parquet('all.parquet').collect().height",
        "pl.scan_parquet('first.parquet').collect().height, len(sorted_file_run.errors)",
        "str(sorted_file)",
        "pl.read_parquet('all.parquet')['order'].to_list() == list(range(100_000, 100_000 + ROWS))",
        "[mb for rows, mb in memory.seen if rows > ROWS // 5]",
        "server.books()['billed']",
    ]
    found = facts(execute("stream-a-million", tmp_path, ask=ask))
    rows, processed, written, first, failed, path, in_order, megabytes, billed = found
    assert rows == processed == written == 20_000
    assert (first, failed, path, billed) == (1_000, 0, "first.parquet", 1_000)
    assert in_order
    assert max(megabytes) - min(megabytes) < 60


def test_polars_goes_in_and_polars_comes_out(tmp_path: Path) -> None:
    ask = [
        "str(type(found)), found.height, found['finding'].null_count()",
        "'pandas' in __import__('sys').modules",
        "str(found.schema['severity'])",
        "grave.height == found.filter(pl.col('severity') == 'high').height > 0",
        "late_run.rows.height, float(late_run.cost), late.height",
        "float(found_run.cost) > 0, found_run.estimate.high >= found_run.cost",
    ]
    found = facts(execute("polars", tmp_path, ask=ask, forked=False))
    kind, rows, missing, pandas, severity, grave, _, cost, late, paid, in_range = found
    assert "polars" in kind
    assert (rows, missing, pandas, cost) == (36, 1, False, 0.0)
    assert severity == "Enum(categories=['low', 'medium', 'high'])"
    assert grave
    assert 0 < late < rows
    assert paid
    assert in_range


def test_stages_and_an_observer_of_ones_own_stand_behind_the_model(tmp_path: Path) -> None:
    ask = [
        "run.state, len(run.errors), run.errors['message'].unique().tolist()",
        "int(result.data['letter'].notna().sum()), int(result.data['sign'].sum())",
        "result.data['sign'].dropna().tolist() == sorted(result.data['sign'].dropna())[::-1]",
        "watchman.diary[0], watchman.diary[-1]",
        "float(short.costs.total_cost), len(short.data), int(short.data['postcard'].notna().sum())",
    ]
    found = facts(execute("own-stage", tmp_path, ask=ask))
    state, failed, reasons, letters, signed, sorted_first, began, ended, cost, rows, kept = found
    assert (state, reasons) == ("done", ["an accident: a person has to answer this"])
    assert letters + failed == 47 == kept
    assert 0 < signed < letters
    assert sorted_first
    assert began == "began"
    assert ended == f"{letters} letters, {failed} held back"
    assert (cost, rows) == (0.0, 48)
