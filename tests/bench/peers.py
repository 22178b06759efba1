"""Other packages that ask a model about the rows of a frame, measured where they are installed.

Each is called as its documentation says, with its own defaults but for how many requests are in
flight. `python -m tests.bench.peers NAME --url …` is one of them in a fresh process. None is a
dependency, and most can't share an environment with each other: `environments` finds them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.contestants import KEY, MODEL, QUESTION, TOOL, Task, main

__all__ = ["PEERS", "Peer", "environments"]

PROVIDER, MAX_TOKENS = "anthropic", 1024


@dataclass(frozen=True)
class Peer:
    """A package by its name on PyPI: what it is imported as, and which answers it is asked for."""

    module: str
    schema: bool
    ask: Callable[[Task, Any], int]

    async def contest(self, task: Task, texts: list[str]) -> int:
        """How many of `texts` it has answered. It has its own loop, or none: so a thread."""
        import pandas as pd

        os.environ |= {"ANTHROPIC_API_BASE": task.url, "ANTHROPIC_API_KEY": KEY}
        # LiteLLM takes its prices and its tokenizer from the network unless told where they are.
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        if lite := find_spec("litellm"):
            folder = Path(str(lite.origin)).parent / "litellm_core_utils" / "tokenizers"
            os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))
        return await asyncio.to_thread(self.ask, task, pd.DataFrame({"text": texts}))


def _ondine(task: Task, frame: Any) -> int:
    from ondine import PipelineBuilder

    pipeline = (
        PipelineBuilder.create()
        .from_dataframe(frame, input_columns=["text"], output_columns=["response"])
        .with_prompt(QUESTION + "{text}")
        .with_llm(model=f"{PROVIDER}/{MODEL}", api_key=KEY, max_tokens=MAX_TOKENS)
        .with_batch_size(1)
        .with_concurrency(task.concurrency)
        .with_checkpoint_dir(str(task.folder))
        .with_progress_mode("none")
        .build()
    )
    return int(pipeline.execute().data.to_pandas()["response"].notna().sum())


def _curator(task: Task, frame: Any) -> int:
    os.environ |= {"TELEMETRY_ENABLED": "0", "CURATOR_DISABLE_CACHE": "1"}
    from bespokelabs import curator

    class Feel(curator.LLM):
        def prompt(self, row: Any) -> str:
            return QUESTION + str(row["text"])

        def parse(self, row: Any, response: Any) -> Any:
            return {**row, "response": response}

    limits = {"max_requests_per_minute": 10**7, "max_tokens_per_minute": 10**10}
    params = {"base_url": f"{task.url}/v1", "api_key": KEY, **limits}
    model = Feel(
        model_name=MODEL,
        backend=PROVIDER,
        backend_params=params | {"max_concurrent_requests": task.concurrency},
        generation_params={"max_tokens": MAX_TOKENS},
    )
    answered = model(frame.to_dict("records"), working_dir=str(task.folder)).dataset
    return sum(said is not None for said in answered["response"])


def _lotus(task: Task, frame: Any) -> int:
    import lotus
    from lotus.models import LM

    most: dict[str, Any] = {"max_batch_size": task.concurrency, "max_tokens": MAX_TOKENS}
    lotus.settings.configure(lm=LM(f"{PROVIDER}/{MODEL}", api_key=KEY, **most))
    return int(frame.sem_map(QUESTION + "{text}").iloc[:, -1].notna().sum())


def _dataframeit(task: Task, frame: Any) -> int:
    from typing import Literal

    from dataframeit import dataframeit
    from pydantic import create_model

    feelings = Literal["positive", "negative", "neutral"]
    form = create_model(TOOL, sentiment=(feelings, ...), score=(float, ...))
    answered = dataframeit(
        frame,
        form,
        QUESTION + "{texto}",
        text_column="text",
        provider=PROVIDER,
        model=MODEL,
        api_key=KEY,
        model_kwargs={"base_url": task.url, "max_tokens": MAX_TOKENS},
        parallel_requests=task.concurrency,
    )
    return int(answered["sentiment"].notna().sum())


PEERS = {
    "ondine": Peer("ondine", False, _ondine),
    "bespokelabs-curator": Peer("bespokelabs.curator", False, _curator),
    "lotus-ai": Peer("lotus", False, _lotus),
    "dataframeit": Peer("dataframeit", True, _dataframeit),
}


def environments(folder: Path | None) -> dict[str, str]:
    """The Python of each peer: this one where it is installed here, or `folder`/NAME/bin/python."""
    found = {name: sys.executable for name, peer in PEERS.items() if _installed(peer.module)}
    for name in PEERS if folder is not None else ():
        python = Path(folder or "") / name / "bin" / "python"
        if python.exists():
            found[name] = str(python.absolute())
    return found


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


if __name__ == "__main__":
    main({name: peer.contest for name, peer in PEERS.items()})
