"""AsyncGRPOTrainer with plans, against a local server that stands for vLLM."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny

pytest.importorskip("trl", "1.16")  # older ones have another loop
pytest.importorskip("aiohttp")

import agents
import served
from datasets import Dataset
from trl import GRPOConfig
from trl.experimental.async_grpo import AsyncGRPOTrainer
from trl.experimental.async_grpo.async_rollout_worker import _AsyncRolloutLoop

from gdro import StrategyError
from gdro.errors import CheckpointError, GdroError, OutcomeError, ProblemError, UnsupportedError
from gdro.integrations.dataset import dataset_pool
from gdro.integrations.trl.async_grpo import GDROAsyncGRPOTrainer
from gdro.integrations.trl.async_grpo.loop import PlannedLoop, Start, Terms
from gdro.strategies.registry import make_strategy


@pytest.fixture
def server() -> Iterator[served.Server]:
    one = served.Server()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    served.stand_in(monkeypatch)


def rows_of(cls: Any, server: served.Server, num: int, **given: Any) -> list[Any]:
    """The first rows that a loop hands over; one request at a time, which makes their order certain."""
    buffer: queue.Queue[Any] = queue.Queue()
    loop = cls(
        model_name="m",
        dataset=served.dataset(5),
        reward_funcs=[tiny.picky, tiny.length],
        processing_class=agents.tokenizer(),
        eos_token_ids=[1],
        rollout_buffer=buffer,
        model_version_value=SimpleNamespace(value=2),
        heartbeat_value=SimpleNamespace(value=0.0),
        failed_event=threading.Event(),
        exception_info_queue=queue.Queue(),
        metrics_queue=queue.Queue(),
        num_generations=4,
        max_inflight_tasks=1,
        max_tokens=4,
        vllm_server_url=server.url,
        **given,
    )
    thread = threading.Thread(target=loop.run)
    thread.start()
    rows = [buffer.get(timeout=30) for _ in range(num)]
    loop._loop.call_soon_threadsafe(loop._stop_event.set)
    thread.join()
    return rows


def terms(folder: Path, strategy: str, prompts: int) -> Terms:
    part, pool = make_strategy(strategy), dataset_pool(served.dataset(5), separate=True)
    return Terms(part, pool, 0, None, True, "picky", prompts, 4, 1, str(folder))


def content(row: Any) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in type(row).__slots__ if name != "enqueued_at"}
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in plain.items()}


@pytest.mark.parametrize("prompts", [1, 2])
def test_rows_under_uniform_are_those_of_trl(tmp_path: Path, prompts: int) -> None:
    """Tokens, masks, log-probabilities, rewards, advantages, versions and groups, over two epochs."""
    requests = SimpleNamespace(recv=lambda: threading.Event().wait())
    rows: list[list[Any]] = []
    for cls in (_AsyncRolloutLoop, PlannedLoop):
        given: dict[str, Any] = {}
        if cls is PlannedLoop:
            given = {
                "terms": terms(tmp_path, "uniform", prompts),
                "start": Start(),
                "requests": requests,
            }
        with closing(served.Server()) as server:
            rows.append([content(row) for row in rows_of(cls, server, 40, **given)])
    assert str(rows[0]) == str(rows[1])  # NaN is not equal to itself
    assert len({row["advantage"] for row in rows[0]}) > 10


@pytest.mark.parametrize("strategy", [None, "prompt-gdro(signal=failure)", "dapo", "maxrl"])
def test_trainings(server: served.Server, strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served.in_thread(monkeypatch)
    options = {"max_steps": 4, "max_inflight_tasks": 16}
    data, seen = served.dataset().add_column("rate", [0.1, 0.9, 0.5, 0.0] * 3), []
    given = {"strategy": strategy, "train_dataset": data, "prior_column": "rate"}
    trainer = served.make(GDROAsyncGRPOTrainer, server, options, **given)
    take = trainer.rollout_worker.rollout_buffer.get
    monkeypatch.setattr(
        trainer.rollout_worker.rollout_buffer, "get", lambda **k: seen.append(take(**k)) or seen[-1]
    )
    before = tiny.weights(trainer).clone()
    trainer.train()
    assert not bool((before == tiny.weights(trainer)).all())
    ledger = trainer.controller.ledger
    assert ledger.closed >= 4 and ledger.plans == ledger.closed + ledger.abandoned
    assert ledger.planned == ledger.rollouts + ledger.missing
    steps = served.steps(trainer)
    assert len(steps) == ledger.closed and max(step["step"] for step in steps) > 0
    sizes = Counter(row.group_id for row in seen)
    if strategy is None:
        assert trainer.controller.strategy.name == "rollout-gdro"
        assert max(sizes.values()) > 4, "groups must have unequal sizes"
    if strategy == "dapo":
        flat = [g for g in sizes if len({r.metrics["reward"] for r in seen if r.group_id == g}) < 2]
        assert not flat and ledger.discarded > 0
    last = next(line for line in reversed(trainer.state.log_history) if "loss" in line)
    assert (
        last["gdro/total_closed"] <= ledger.closed and "gdro/pass_rate" in trainer.state.log_history[0]
    )


@pytest.mark.weekly
def test_a_process_of_its_own_is_saved_and_resumed(
    server: served.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2, "max_inflight_tasks": 16}
    first = served.make(GDROAsyncGRPOTrainer, server, options, strategy="rollout-gdro")
    first.train()
    plans, tokens = first.controller.ledger.plans, first.controller.ledger.tokens
    assert plans >= 2 and tokens > 0
    folder = Path(first.args.output_dir) / "checkpoint-2"
    assert {"gdro.npz", "gdro_async.json", "rollout_state.json"} <= {p.name for p in folder.iterdir()}
    saved = [step["ticket"] for step in served.steps(first)]
    served.in_thread(monkeypatch)

    def again(strategy: str, data: Dataset, **given: Any) -> Any:
        more = options | {"max_steps": 4, "output_dir": first.args.output_dir}
        return served.make(
            GDROAsyncGRPOTrainer, server, more, strategy=strategy, train_dataset=data, **given
        )

    with pytest.raises(CheckpointError, match="resume_keys='match'"):
        again("rollout-gdro", served.dataset(9)).train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match="resume_keys='fresh'"):
        again("uniform", served.dataset()).train(resume_from_checkpoint=True)
    second = again("rollout-gdro", served.dataset())
    second.train(resume_from_checkpoint=True)
    assert second.controller.ledger.plans > plans and second.controller.ledger.abandoned > 0
    steps = served.steps(second)
    tickets = [step["ticket"] for step in steps]
    assert len(set(tickets)) == len(tickets) and not set(saved) <= {-1}
    assert max(step["step"] for step in steps) >= 2


def test_a_run_of_trl_goes_on_with_gdro(server: served.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    served.in_thread(monkeypatch)
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2, "max_inflight_tasks": 4}
    first = served.make(AsyncGRPOTrainer, server, options, train_dataset=served.dataset(20))
    first.train()
    folder = Path(first.args.output_dir) / "checkpoint-2"
    trained = json.loads((folder / "rollout_state.json").read_text())["prompt_index"]
    assert trained >= 8
    more = options | {"max_steps": 3, "output_dir": first.args.output_dir}
    second = served.make(GDROAsyncGRPOTrainer, server, more, train_dataset=served.dataset(20))
    before = len(server.requests)
    with pytest.warns(UserWarning, match="beliefs of the prompts start anew"):
        second.train(resume_from_checkpoint=True)
    wanted = agents.tokenizer()(f"{trained % 20:02d}+a=")["input_ids"]
    assert server.requests[before]["prompt"][: len(wanted)] == wanted


def lost(completions: list[Any], **_: Any) -> list[float]:
    return [float("inf")] * len(completions)


def test_an_error_of_the_process_is_one_of_the_trainer(
    server: served.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.in_thread(monkeypatch)
    trainer = served.make(GDROAsyncGRPOTrainer, server, reward_funcs=lost, strategy="uniform")
    with pytest.raises(OutcomeError, match="finite"):
        trainer.train()


def test_an_error_of_its_start_is_one_too(
    server: served.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which environments give a reward is known in that process alone."""
    served.in_thread(monkeypatch)
    given = {"environment_factory": agents.Guess, "reward_funcs": None, "correct": "Geuss"}
    given |= {"processing_class": agents.tokenizer(agents.GUESS), "train_dataset": agents.seeds(12)}
    trainer = served.make(GDROAsyncGRPOTrainer, server, **given)
    with pytest.raises(UnsupportedError, match=r"'Geuss'.*'Guess'"):
        trainer.train()


def text(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["prompt"][0]["content"]}


MISTAKES: dict[str, tuple[type[GdroError], str, dict[str, Any]]] = {
    "memory": (UnsupportedError, "has a memory.*strategy='rollout-gdro'", {"strategy": "gdro"}),
    "surrogate": (
        UnsupportedError,
        "signal='failure'",
        {"strategy": "prompt-gdro", "strategy_options": {"signal": "surrogate"}},
    ),
    "config": (UnsupportedError, "AsyncGRPOConfig", {"args": GRPOConfig("x", bf16=False)}),
    "worker": (UnsupportedError, "rollout_worker", {"rollout_worker": object()}),
    "spelling": (UnsupportedError, "strategy", {"stratgy": "dapo"}),
    "text": (UnsupportedError, "conversations", {"train_dataset": served.dataset().map(text)}),
    "no prompts": (
        ProblemError,
        "'prompt'",
        {"train_dataset": served.dataset().remove_columns("prompt")},
    ),
    "no data": (UnsupportedError, "train_dataset", {"train_dataset": None}),
    "plans": (StrategyError, "prompts_per_plan is 0", {"prompts_per_plan": 0}),
    "large plans": (ProblemError, "13, and train_dataset has 12", {"prompts_per_plan": 13}),
    "correct": (UnsupportedError, "'luck'", {"correct": "luck"}),
    "lambda": (UnsupportedError, "top of a module", {"correct": lambda completions, **_: [True]}),
    "copies": (
        ProblemError,
        "exact copies",
        {"train_dataset": Dataset.from_list([served.dataset()[0]] * 12), "strategy": "rollout-gdro"},
    ),
    "names": (UnsupportedError, "'lucky'", {"reward_funcs": [served.lucky, served.lucky]}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_errors_before_anything_runs(server: served.Server, mistake: str) -> None:
    kind, words, given = MISTAKES[mistake]
    with pytest.raises(kind, match=words):
        served.make(GDROAsyncGRPOTrainer, server, **given)
    assert not server.requests


def test_a_server_that_is_down_is_an_error(server: served.Server) -> None:
    options = {"vllm_server_base_url": "http://127.0.0.1:9", "vllm_server_timeout": 0.1}
    trainer = served.make(GDROAsyncGRPOTrainer, server, options, strategy="uniform")
    with pytest.raises(TimeoutError, match="vLLM server is running"):
        trainer.train()
