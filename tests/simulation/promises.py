"""What must never be, whatever happens: looked for at each request, and at each run's end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from ondine_nb.models import Prompt
from ondine_nb.pipeline.run import Run
from ondine_nb.sending import SessionBudget
from ondine_nb.stages import REASKS

from .breach import demand
from .disk import Disk
from .plans import ProcessPlan, RunPlan
from .wire import ERRORS, Sent, SimulatedProvider, Wire, breaks_schema, said_in, text_for, total

__all__ = ["Promises"]

_PERHAPS = frozenset(name for name, billed in ERRORS.items() if billed == "perhaps")
_STATUSES = ("answered", "journal", "failed", "skipped", "not_run")


class Promises:
    """Holds a world's runs against its ledger and its disk. Raises `Breach`."""

    def __init__(self, wire: Wire, disk: Disk, say: Callable[..., None]) -> None:
        self._wire, self._disk, self._say = wire, disk, say
        self.plans: dict[str, RunPlan] = {}
        self.running: list[Run] = []
        self._session: SessionBudget | None = None
        self._since = 0
        self._before: dict[bytes, list[bytes]] = {}

    def begin(self, session: SessionBudget | None) -> None:
        """A process begins."""
        self.running = []
        self._session = session
        self._since = len(self._wire.ledger)
        self._before = {key: list(bodies) for key, bodies in self._disk.valid.items()}

    def add(self, run: Run, plan: RunPlan) -> None:
        """A run of this process is about to start."""
        self.plans[run.id] = plan
        self.running.append(run)

    def _sent(self, run: Run, *, now: bool = False) -> list[Sent]:
        """What it has sent: in all, or in this process."""
        sent = self._wire.ledger[self._since :] if now else self._wire.ledger
        return [each for each in sent if each.run == run.id]

    # -- a request

    def before_send(
        self, provider: SimulatedProvider, prompts: Sequence[str], in_batch: bool
    ) -> set[bytes]:
        """A request arrives; gives the keys of its questions."""
        self._say("run", provider.run, "sends", *(["a batch of"] if in_batch else []), prompts)
        run = next(run for run in self.running if run.id == provider.run)
        plan = self.plans[run.id]
        asked = {prompt: run.plan.asker.lookup.keys(Prompt(prompt)) for prompt in prompts}
        for prompt, keys in asked.items():
            self._check_unpaid(run, plan, prompt, keys)
            if in_batch:
                self._check_in_no_batch(run, plan, prompt)
        demand(not run.context.control.stopping, prompts, "are sent after a stop")
        self.check_shown()
        if len(self._sent(run, now=True)) == plan.stop_at_request:
            run.stop()
        return {key for keys in asked.values() for key in keys}

    def _check_unpaid(self, run: Run, plan: RunPlan, prompt: str, keys: Sequence[bytes]) -> None:
        """What is acknowledged isn't paid again, unless it breaks a schema."""
        entries = [entry for key in keys for entry in self._disk.answered.get(key, ())]
        if plan.fresh or run.is_retry:
            entries = [entry for entry in entries if entry.run == run.id]
        if plan.schema:
            if any(self.plans[each.id].fresh for each in self.running if each is not run):
                return  # it makes void what this one goes on from
            valid = self._disk.valid
            entries = [each for each in entries if each.body in valid.get(each.key, ())]
            again = all(breaks_schema(entry.body) for entry in entries)
            told = [(entry.run, said_in(entry.body)) for entry in entries]
            demand(again, prompt, "is acknowledged, and asked again by", run.id, told)
            demand(len(entries) <= REASKS, prompt, "is asked again without end")
        else:
            demand(not entries, prompt, "is acknowledged and paid again")

    def _check_in_no_batch(self, run: Run, plan: RunPlan, prompt: str) -> None:
        """What an earlier batch has answered, or will have, isn't put into another."""
        for batch in self._wire.batches.batches.values():
            for _, sent in batch.requests:
                if sent.usable and sent.prompts == (prompt,) and sent.schema == plan.schema:
                    beside = any(sent.run == each.id for each in self.running)
                    asks_anew = plan.fresh or run.is_retry
                    anew = asks_anew or (beside and self.plans[sent.run].fresh)
                    anew = anew and sent.run != run.id
                    demand(anew, prompt, "is in", batch.id, "and paid again")

    def check_shown(self) -> None:
        """What runs show at any moment."""
        for run in self.running:
            self._check_shown(run)
        if (session := self._session) is not None and session.ceiling is not None:
            billed = total(each.billed for run in self.running for each in
                           self._sent(run, now=True))  # fmt: skip
            held = session.spent + session.possibly_billed + session.reserved
            demand(billed <= held, "billed", billed, "and the session holds", held)
            if not any(self.plans[run.id].batch for run in self.running):
                demand(held <= session.ceiling, held, "held of", session.ceiling)

    def _check_shown(self, run: Run) -> None:
        budget, cost = run.plan.budget, run.context.get_costs().total_cost
        assert cost is not None
        durable = self._disk.cost_of.get(run.id, Decimal(0))
        demand(cost <= durable, "cost", cost, "is counted, and the journal has", durable)
        billed = total(each.billed for each in self._sent(run))
        held = budget.spent + budget.possibly_billed + budget.reserved
        plan = self.plans[run.id]
        # Else nobody has kept a bound, or another run counts what it reads of a batch.
        if not plan.resumes or (plan.budget is not None and not plan.batch):
            demand(billed <= held, "billed", billed, "and held", held)
        if plan.budget is not None and not plan.batch:  # which may adopt an earlier run's
            demand(held <= plan.budget, "held", held, "of a budget of", plan.budget)
        elif plan.budget is not None:
            demand(billed <= plan.budget, "billed", billed, "of a budget of", plan.budget)

    # -- a run's end

    def check_ends(self, process: ProcessPlan, *, last: bool) -> None:
        """All runs of this process are over."""
        self.check_shown()
        journaled = total(Decimal(entry.cost or 0) for entry in self._disk.entries)
        paid = total(each.shown for each in self._wire.ledger if each.shown is not None)
        demand(journaled <= paid, journaled, "is journaled, and", paid, "was paid")
        for run in self.running:
            plan = self.plans[run.id]
            self._say("run", run.id, run.state, run.counts, run.cost, run.message)
            self._check_figures(run, plan, process)
            self._check_rows(run, plan)
            demand(run.state in ("done", "stopped", "failed"), "it ended as", run.state)
            if last:
                demand(run.error is None, "a calm run ended by", repr(run.error))
                demand(run.counts.not_run == 0, "rows aren't run:", run.counts)

    def _check_figures(self, run: Run, plan: RunPlan, process: ProcessPlan) -> None:
        """Its figures are those of the ledger."""
        sent, budget, metrics = self._sent(run, now=True), run.plan.budget, run.context.metrics
        demand(budget.reserved == 0 and budget.outstanding == 0, "held after the end:",
               budget.reserved, budget.outstanding)  # fmt: skip
        demand(metrics.in_flight == 0, "in flight after the end:", metrics.in_flight)
        demand(metrics.possibly_billed == budget.possibly_billed, "possibly billed is shown as",
               metrics.possibly_billed, "and kept as", budget.possibly_billed)  # fmt: skip
        cost = run.context.get_costs().total_cost
        assert cost is not None
        demand(cost == budget.spent, "cost", cost, "and spent", budget.spent)
        batched = plan.batch
        if batched:
            demand(metrics.requests >= len(sent), metrics.requests, "requests are", len(sent))
        else:
            demand(metrics.requests == len(sent), metrics.requests, "requests are", len(sent))
        known = total(each.shown for each in self._sent(run) if each.shown is not None)
        failing = process.faults.before or process.faults.after
        if batched:
            durable = self._disk.cost_of.get(run.id, Decimal(0))
            stopped = plan.cut_short or run.context.control.stopping  # it leaves them to the server
            demand(failing or stopped or cost == durable, "cost", cost, "and durable", durable)
            demand(cost + metrics.possibly_billed >= durable, "less is shown than is durable")
        elif failing or plan.cut_short or plan.resumes:
            demand(cost <= known, "cost", cost, "and known", known)
            if plan.budget is not None or not plan.resumes:
                demand(cost + metrics.possibly_billed >= known, "less is shown than was paid")
        else:
            self._check_uncut(run, sent, cost, known)

    def _check_uncut(self, run: Run, sent: list[Sent], cost: Decimal, known: Decimal) -> None:
        """Nothing cut it short: it knows all that can be known."""
        metrics = run.context.metrics
        lost = total(each.worst for each in sent if each.shown is None and _charged(each))
        demand(cost == known, "cost", cost, "and the ledger has", known)
        demand(metrics.possibly_billed == lost, "possibly billed", metrics.possibly_billed,
               "and the ledger has", lost)  # fmt: skip
        bodies = sum(entry.run == run.id for entry in self._disk.entries)
        came = sum(each.bodies for each in sent)
        demand(bodies == came, came, "bodies came, and the journal has", bodies)
        if not run.is_retry:  # whose rows are the earlier run's where they weren't run
            rows = total(row.cost for row in run.plan.rowset.rows if row is not None)
            demand(rows == cost, "the rows cost", rows, "and the run", cost)

    def _check_rows(self, run: Run, plan: RunPlan) -> None:
        """Each row has one outcome, and its own answer."""
        rows = list(run.plan.rowset.rows)
        demand(len(rows) == len(plan.values), len(rows), "rows of", len(plan.values))
        found = Counter("not_run" if row is None else row.status for row in rows)
        shown = run.counts
        told = {name: getattr(shown, name) for name in _STATUSES}
        told["answered"] -= shown.journal  # those are among them
        demand(+Counter(told) == found, shown, "and the rows say", found)
        column = run.frame["said" if plan.schema else "response"].to_list()
        ended = run.error is not None or run.context.control.stopping or run.is_retry
        for row, value, cell in zip(rows, plan.values, column, strict=True):
            status = "not_run" if row is None else row.status
            if status in ("answered", "journal"):
                self._check_answer(run, plan, f"Q {value}", cell, asked=row.position in _asked(run))
                demand(value is not None, "an empty row is answered")
            else:
                demand(pd.isna(cell), f"a row is {status} and has the answer", cell)
                demand(status != "failed" or row.failure is not None, "failed by nothing")
                demand(status != "not_run" or ended, "a row was forgotten:", value)
                demand((status == "skipped") == (value is None and status != "not_run"),
                       status, value)  # fmt: skip

    def _check_answer(
        self, run: Run, plan: RunPlan, prompt: str, cell: Any, *, asked: bool
    ) -> None:
        number = int(str(cell).rpartition("#")[2])
        demand(cell == text_for(prompt, number), prompt, "has the answer", repr(cell))
        sent = self._wire.ledger[number]
        demand(prompt in sent.prompts, prompt, "wasn't asked by request", number)
        whole = sent.usable or len(sent.prompts) > 1  # of a pack that was cut, some may be whole
        demand(whole, prompt, "has for an answer what is", sent.kind)
        keys = run.plan.asker.lookup.keys(Prompt(prompt))
        bodies = [entry.body for entry in self._disk.entries if entry.key in keys]
        demand(any(cell in (said_in(body) or "") for body in bodies), cell, "is in no journal")
        if not asked or plan.batch:  # a batch of another's may be read by anybody
            return
        if plan.fresh or run.is_retry:
            demand(sent.run == run.id, "a fresh run gives an earlier answer to", prompt)
        elif sent.run not in {each.id for each in self.running}:
            known = next((self._before[key] for key in keys if key in self._before), [])
            first = next((body for body in known if not breaks_schema(body)), b"")
            demand(
                cell in (said_in(first) or ""), prompt, "has", cell, "and the journal's is", first
            )


def _asked(run: Run) -> set[int]:
    """The positions of the rows that it asks."""
    if run.earlier is None:
        return set(range(run.counts.total))
    return {row.position for row in run.earlier.asked}


def _charged(sent: Sent) -> bool:
    """Whether a request without a known cost counts as possibly billed."""
    return sent.billed > 0 or sent.kind in _PERHAPS
