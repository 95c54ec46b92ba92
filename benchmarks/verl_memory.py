"""What a memory adds to a step of verl on the driver: `.venv-verl/bin/python benchmarks/verl_memory.py`.

The preset `gdro` at P = 512 prompts of a pool of 14,100, n = 8 and answers of 4,096 tokens, synthetic.
Times of the CPU: `decide` chooses rows and factors and keeps the store, `rows` makes the recalled rows,
`table` turns them into the tensors that verl sends.
The queue is a dictionary; `--queue` takes verl's own on Ray and prints the time of what goes through it.
"""

from __future__ import annotations

import argparse
import os
import time
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("VERL_PLATFORM", "cpu")
os.environ.setdefault("VERL_USE_EXTERNAL_MODULES", "gdro.dry_run.verl.cpu,gdro.integrations.verl")

import numpy as np
import torch
from datasets import Dataset

import verl  # noqa: F401  # first: it imports the adapter as a plugin
from gdro import Controller, Problem, Request, default_strategy
from gdro.integrations.verl import memory as adapter
from gdro.integrations.verl import queue
from gdro.integrations.verl.memory import VerlMemory
from gdro.integrations.verl.step import RowScores, VerlStep

P, N_BAR, POOL, ANSWER, PROMPT, WARMUP = 512, 8, 14_100, 4096, 256, 60


class Timed:
    """Functions of the queue, of which it adds up the time."""

    clock = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("tensors", "fields_of", "insert", "clear"):
            setattr(queue, name, self._timed(getattr(self, name, None) or getattr(queue, name)))

    def _timed(self, function: Any) -> Any:
        def timed(*args: Any) -> Any:
            start = self.clock()
            result = function(*args)
            self.seconds += self.clock() - start
            return result

        return timed


class Dictionary(Timed):
    """Every row has the same tokens; what is written is forgotten."""

    clock = staticmethod(time.process_time)

    def tensors(self, keys: list[str], name: str) -> list[Any]:
        return [ROW[name]] * len(keys)

    def fields_of(self, key: str) -> dict[str, Any]:
        return dict(ROW)

    def insert(self, keys: list[str], columns: Any, tags: Any) -> None:
        start = time.process_time()
        queue.table(columns)
        TABLE[0] = time.process_time() - start

    def clear(self, keys: list[str]) -> None:
        pass


def row() -> dict[str, Any]:
    """The fields of a fresh row, as verl's agent loop writes them."""
    prompts, responses = torch.arange(PROMPT), torch.randint(0, 1000, (ANSWER,))
    ids, ones = torch.cat([prompts, responses]), torch.ones(ANSWER, dtype=torch.int64)
    return {
        "prompts": prompts,
        "responses": responses,
        "input_ids": ids,
        "position_ids": torch.arange(len(ids)),
        "response_mask": ones,
        "loss_mask": ones,
        "rm_scores": torch.zeros(ANSWER),
        "rollout_log_probs": torch.zeros(ANSWER),
        "num_turns": 2,
        "uid": "u",
        "session_id": 0,
        "index": 0,
        "raw_prompt": [{"role": "user", "content": "x" * 4 * PROMPT}],
        "reward_model": {"style": "rule", "ground_truth": "1"},
        "extra_info": {"index": 0},
        "data_source": "x",
        "extra_fields": {"reward_extra_info": {}},
        "multi_modal_inputs": {},
    }


ROW = row()


def data() -> Dataset:
    """A dataset in verl's schema."""
    rows = [
        {
            "prompt": ROW["raw_prompt"],
            "reward_model": ROW["reward_model"],
            "extra_info": {"index": i},
            "data_source": "x",
        }
        for i in range(POOL)
    ]
    return Dataset.from_list(rows)


def run(steps: int, timed: Timed, real: bool) -> None:
    """Print the medians over steps."""
    strategy = default_strategy(N_BAR)
    problem = Problem([str(i) for i in range(POOL)])
    controller = Controller(strategy, problem)
    trainer = SimpleNamespace(
        global_steps=0,
        train_dataset=SimpleNamespace(dataframe=data()),
        config=SimpleNamespace(data=SimpleNamespace(prompt_key="prompt")),
    )
    adapter.table_of = lambda dataset: dataset.dataframe
    memory = VerlMemory(trainer, problem, 2**33, 2**17, strategy.keeps_for)
    rng, times = np.random.default_rng(0), []
    rate_N = rng.beta(0.3, 0.5, POOL)
    for number in range(WARMUP + steps):
        trainer.global_steps = number
        plan = controller.plan(Request(P, P * N_BAR, rng.permutation(POOL)[:P]))
        step = VerlStep(plan)
        uids = [f"{number}-{p}" for p in range(P)]
        step.submit(uids, plan.prompt_P.tolist(), plan.rollouts_P.tolist())
        keys = [f"{u}_{s}_0" for u, n in zip(uids, plan.rollouts_P, strict=True) for s in range(n)]
        reward = (rng.random(len(keys)) < rate_N[plan.prompt_R]).astype(np.float64)
        tag = {"prompt_len": PROMPT, "response_len": ANSWER, "seq_len": PROMPT + ANSWER}
        batch = queue.batch_of(dict.fromkeys(keys, tag))
        late = real and number >= WARMUP
        scored = written = 0.0
        if late:
            start = time.perf_counter()
            for i in range(0, len(keys), P):  # in parts, as rollouts arrive
                part = keys[i : i + P]
                fresh = {name: [value] * len(part) for name, value in ROW.items()}
                QUEUE["insert"](
                    part, fresh | {"uid": [k.split("_")[0] for k in part]}, [tag] * len(part)
                )
            written, start = time.perf_counter() - start, time.perf_counter()
            queue.scores(keys)
            scored = time.perf_counter() - start
        timed.seconds = MADE[0] = TABLE[0] = 0.0
        start = time.process_time()
        outcome = step.read(
            keys, RowScores(reward, reward > 0.5, np.full(len(keys), ANSWER), reward >= 0)
        )
        step.weigh(controller.weigh(outcome))
        if late or not real:
            memory.note(step, dict(zip(keys, batch.tags, strict=True)))
            memory.recall(batch, step)
        step.factors(list(batch.keys))
        total = time.process_time() - start
        controller.observe(outcome, recalled=memory.recalled)
        if late:
            queue.clear(list(batch.keys))
        if number >= WARMUP:
            rows, _ = memory.recalled
            decide = total - timed.seconds - MADE[0]
            times.append((decide, MADE[0], TABLE[0], timed.seconds, scored, written, rows))
    decide, made, table, moved, scored, written, rows = np.median(np.array(times), axis=0)
    print(f"recalled rows {rows:.0f} of {P * N_BAR}")
    if not real:
        print(f"decide {1e3 * decide:.1f} ms, rows {1e3 * made:.1f} ms, table {1e3 * table:.1f} ms")
    else:
        print(f"queue: rewards and masks {scored:.2f} s, successes and recalled rows {moved:.2f} s")
        print(f"queue, for comparison: verl writes all rollouts in {written:.2f} s")
    print(f"store {len(memory.store)} rollouts, {memory.store.nbytes / 1e6:.0f} MB")


MADE, TABLE = [0.0], [0.0]
QUEUE: dict[str, Any] = {}


def watch_rows() -> None:
    """Add up the time in which rows are made."""
    for name in ("tag_of", "stored", "dataset_fields", "columns_of"):
        made = getattr(adapter, name)

        def timed(*args: Any, made: Any = made) -> Any:
            start = time.process_time()
            result = made(*args)
            MADE[0] += time.process_time() - start
            return result

        setattr(adapter, name, timed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue", action="store_true", help="verl's transfer queue on Ray")
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    watch_rows()
    QUEUE["insert"] = queue.insert
    if given.queue:
        import ray
        import transfer_queue as tq

        ray.init(num_cpus=4, include_dashboard=False)
        tq.init()
    run(given.steps, Timed() if given.queue else Dictionary(), given.queue)
