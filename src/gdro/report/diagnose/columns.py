"""Which columns of a reward log hold the prompt, the reward and the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdro.data.cells import cell, has_cell
from gdro.report.diagnose.traces import GROUP
from gdro.report.diagnose.values import rewards_or_none
from gdro.report.visits import ReportError

# In the order in which they are tried: ids of prompts, their texts, and what may be the id of a row.
IDS = (
    *("prompt_id", "problem_id", "question_id", "example_id", "task_id", "doc_id", "instance_id"),
    *("prompt_idx", "prompt_index", "problem_idx", "key", "extra_info.index"),
    *("prompt", "prompts", "input", "question", "problem", "query", "instruction", "messages"),
    *("uid", "group_id", "id", "index", "idx", "sample_id"),
)
REWARDS = (
    *("rewards", "reward", "total_reward", "reward_total", "final_reward", "reward_score", "score"),
    *("scores", "acc", "accuracy", "correct", "is_correct", "right", "exact_match", "acc_norm"),
    *("passed", "pass", "success", "solved"),
)
STEPS = ("step", "global_step", "training_step", "train_step", "ticket", "iteration", "global_steps")
PARTS = ("task", "env_name", "env_id", "data_source", "set")  # an id may be one of several sets
_NO_REWARD = {*STEPS, "epoch", "advantage", "advantages", "weight", "index", "idx", "id", "seed"}
_WORDS = ("reward", "score", "acc", "correct")


@dataclass(frozen=True)
class Columns:
    """Columns of a reward log.

    Attributes:
        ids: Columns that may name the prompt; the first under which prompts repeat is used.
        rewards: Columns whose sum is the reward; empty if the log has counts alone.
        counts: Whether a row with `n` and `successes` is a group (`groups.jsonl`).
        step: Column of the step, if there is one.
        part: Column of the set that an id belongs to, if there is one.
        group: Column of the rollout group, if there is one; its rollouts may end in several steps.
        advantage: Whether the log has TRL's advantages, which tell if a group had a gradient.
        program: Name of the program that writes such columns, or "".
    """

    ids: tuple[str, ...]
    rewards: tuple[str, ...]
    counts: bool
    step: str | None
    part: str | None
    group: str | None
    advantage: bool
    program: str


def columns_of(
    rows: Sequence[Mapping[str, Any]], where: str, id_column: str | None, reward_columns: Sequence[str]
) -> Columns:
    """The columns of a log by its first rows, and by what the user named.

    Raises:
        ReportError: A column that was named is not there, or none or several may be the reward.
    """
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    for option, given in (("--id", [id_column] if id_column else []), ("--reward", reward_columns)):
        absent = next((name for name in given if not any(has_cell(row, name) for row in rows)), None)
        if absent is not None:
            raise ReportError(f"{option} is {absent!r:.80}, but {where} has {_listed(rows, names)}")
    ids = (id_column,) if id_column else _present(IDS, rows)
    rewards = tuple(reward_columns) or _rewards(rows, names, where)
    counts = {"n", "successes"} <= set(names)
    if not ids or not (rewards or counts):
        raise ReportError(
            f"{where}, row 1: needs prompt_id and rewards (numbers), a prompt and a reward, or key, n "
            f"and successes as in groups.jsonl (it has {_listed(rows, names)}); name the columns with "
            "--id and --reward"
        )
    step = next(iter(_present(STEPS, rows)), None)
    part = next(iter(_present(PARTS, rows)), None)
    group = next(iter(_present((GROUP,), rows)), None) if "prompt_id" in ids else None
    program = next((p for p, mark in _MARKS.items() if mark <= set(names)), "")
    counted = not reward_columns
    advantage = len(rewards) > 1 and "advantage" in names
    return Columns(ids, rewards, counted, step, part, group, advantage, program)


_MARKS = {
    "TRL": {"step", "prompt", "completion", "advantage"},
    "verl": {"input", "output", "score"},
    "lm-eval": {"doc_id", "resps", "filter"},
    "gdro": {"key", "n", "successes"},
}


def _present(known: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(name for name in known if any(has_cell(row, name) for row in rows))


def _rewards(rows: Sequence[Mapping[str, Any]], names: Sequence[str], where: str) -> tuple[str, ...]:
    """The column of the reward: a known name, or the only other one with numbers."""
    known = _present(REWARDS, rows)
    usual = [name for name in known if _is_reward(rows, name)]
    if usual:
        return (usual[0],)
    if known or {"n", "successes"} <= set(names):
        return known[:1]  # what is wrong with it is said of its row
    free = [name for name in names if name.lower() not in _NO_REWARD and name not in IDS]
    others = [name for name in free if _is_reward(rows, name, _is_named(name))]
    if "completion" in names and "advantage" in names:  # TRL names them after the reward functions
        within = names[names.index("completion") : names.index("advantage")]
        others = [name for name in others if name in within] or others
    named = [name for name in others if _is_named(name)]
    right = [name for name in named if any(word in name.lower() for word in ("acc", "correct"))]
    chosen = next((some for some in (others, named, right) if len(some) == 1), None)
    if chosen is None and others:
        raise ReportError(
            f"{where}: any of {', '.join(named or others)[:200]} may be the reward; name the one that "
            "says right or wrong with --reward COLUMN (repeat it to add columns up)"
        )
    return tuple(chosen or ())


def _is_named(name: str) -> bool:
    return any(word in name.lower() for word in _WORDS)


def _is_reward(rows: Sequence[Mapping[str, Any]], name: str, texts: bool = True) -> bool:
    """Whether a column holds numbers, or lists of them, and nothing else."""
    values = [cell(row, name) for row in rows if cell(row, name) is not None]
    if not texts and any(isinstance(value, str) for value in values):
        return False
    return bool(values) and all(rewards_or_none(value, name) is not None for value in values)


def _listed(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    inner = {n: next((r[n] for r in rows if isinstance(r.get(n), Mapping)), {}) for n in names}
    parts = [part for n in names for part in ([f"{n}.{key}" for key in inner[n]] or [n])]
    return ", ".join(parts)[:200] or "nothing"
