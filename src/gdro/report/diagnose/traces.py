"""Episodes of prime-rl and verifiers: their traces as flat rows of one rollout each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from gdro.common.schema import Fault
from gdro.report.diagnose.values import as_rewards

GROUP = "group.id"
"""Column of the rollout group, where a log names it: it may be finished over several steps."""
_FILE = "traces.jsonl"
# Folders above a step's file, best first: all finished rollouts, or those of the batch alone.
_KINDS = (("train", "all"), ("train", "effective"), ("eval", "all"), ("eval", "effective"))


def trace_files(place: Path) -> list[Path]:
    """Files of a run's episodes, of training if there are any, each rollout once; empty without any."""
    files = [file for file in place.rglob(_FILE) if file.is_file()]
    kinds = [[file for file in files if file.parts[-3:-1] == kind] for kind in _KINDS]
    return next((some for some in kinds if some), files)


def flat_rows(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rollouts of an episode, or of a single trace, as flat rows; any other row as it is.

    A trace has a named task and named rewards with weights, whose sum is the reward. Traces of agents
    that are not trained are left out; an episode or trace without rewards is a rollout without one.

    Raises:
        Fault: A reward is no number.
    """
    task, traces = row.get("task"), row.get("traces")
    if not isinstance(task, dict):
        yield row
    elif isinstance(traces, list):
        episode = _episode(row, cast("dict[str, Any]", task))
        trained = [trace for trace in traces if isinstance(trace, dict) and _agent(trace)[1]]
        several = len({_agent(trace)[0] for trace in trained}) > 1
        for trace in trained:
            yield {**episode, "reward": _reward(trace), **_part(episode, trace, several)}
        if not trained:
            yield {**episode, "reward": None}
    elif isinstance(row.get("rewards"), dict):
        yield {**_episode(row, cast("dict[str, Any]", task)), "reward": _reward(row)}
    else:
        yield row


def _episode(row: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """What all rollouts of an episode share: the prompt, its environment, its group and its step."""
    data, env, run = (_inside(row, *names) for names in (("task", "data"), ("env",), ("run", "work")))
    known = (task.get("key"), task.get("hash"), data.get("idx"), data.get("name"), data.get("prompt"))
    flat = {"prompt_id": next((value for value in known if value is not None), None)}
    flat["task"] = env.get("name") or env.get("id") or task.get("type") or ""
    group = _inside(row, "group").get("id")
    step = run.get("step")
    return flat | ({} if group is None else {GROUP: group}) | ({} if step is None else {"step": step})


def _inside(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _agent(trace: Mapping[str, Any]) -> tuple[Any, bool]:
    """Name of a trace's agent, and whether it is trained."""
    agent = _inside(trace, "agent")
    return str(agent.get("name")), agent.get("trainable") is not False


def _part(episode: Mapping[str, Any], trace: Mapping[str, Any], several: bool) -> dict[str, Any]:
    return {"task": f"{episode['task']}/{_agent(trace)[0]}"} if several else {}


def _reward(trace: Mapping[str, Any]) -> float | None:
    """The weighted sum of a trace's rewards, None if none was given."""
    total = None
    for name, reward in _inside(trace, "rewards").items():
        score, weight = reward, 1.0
        if isinstance(reward, dict):
            score, weight = reward.get("score"), reward.get("weight", 1.0)
        value, factor = as_rewards(score, name), as_rewards(weight, name)
        if isinstance(value, list) or not isinstance(factor, float):
            raise Fault(
                f"reward {name!r:.60} is {reward!r:.60}; it must be a number, or score and weight"
            )
        if value is not None:
            total = (total or 0.0) + value * factor
    return total
