"""Mutated tables of every format: their rows, or one error; never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import random as randomness
import shutil
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.data import DataError
from gdro.data.load import load_with_report
from gdro.errors import GdroError
from gdro.report.diagnose.read import read_rewards
from trust import logfuzz

RANDOMS = st.randoms(use_true_random=False)
USER = {"role": "user", "content": "1 + 1?"}
PROBLEMS: dict[str, dict[str, Any]] = {
    "plain": {"problem": "1 + 1?", "answer": "2", "level": 3},
    "verl": {"prompt": [USER], "reward_model": {"ground_truth": "2"}, "extra_info": {"index": 1}},
    "lists": {"question": json.dumps([USER]), "answer": ["2", "two"]},
    "solutions": {"problem": "1 + 1?", "solution": "So $\\boxed{2}$."},
    "mmlu": {"question": "1 + 1?", "subject": "sums", "choices": ["1", "two", "3"], "answer": 1},
    "arc": {
        "question": "1 + 1?",
        "choices": {"text": ["one", "two"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "gpqa": {
        "Question": "1 + 1?",
        "Correct Answer": "2",
        **{f"Incorrect Answer {i}": str(i + 2) for i in (1, 2, 3)},
    },
}
REWARDS: dict[str, dict[str, Any]] = {
    "groups": {"prompt_id": "a", "rewards": [1.0, 0.0, None], "step": 2},
    "rollouts": {"input": "1 + 1?", "output": "2", "gts": "2", "score": 1.0, "step": 2},
    "trl": {"step": 1, "prompt": [USER], "completion": "2", "accuracy": 1.0, "advantage": 0.5},
    "openrlhf": {"prompt": "1 + 1?", "response": "2", "label": "2", "reward": 1.0},
    "prime-rl": {
        "example_id": 3,
        "task": "sums",
        "prompt": [USER],
        "completion": [USER],
        "reward": 1.0,
        "step": 1,
        "metrics": {"correct": 1.0},
    },
    "episodes": {
        "env": {"id": "sums", "name": "sums"},
        "task": {"type": "Sums", "data": {"idx": 3, "prompt": "1 + 1?"}, "key": "k"},
        "group": {"id": "g"},
        "run": {"type": "train", "id": "r", "work": {"type": "train", "step": 1}},
        "traces": [
            {
                "agent": {"name": "agent", "trainable": True},
                "rewards": {"right": {"score": 1.0, "weight": 1.0}},
            }
        ],
    },
    "samples": {"doc_id": 3, "target": "2", "filter": "none", "exact_match": 1.0},
}
FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz", ".table.json")
# Where programs leave their files, and the kind of rows in them.
FOLDERS = {
    "TRL": ("completions/completions_0000{}.parquet", "trl"),
    "verl": ("{}.jsonl", "rollouts"),
    "prime-rl": ("rollouts/step_{}/train/all/traces.jsonl", "episodes"),
    "lm-eval": ("model/samples_sums_{}.jsonl", "samples"),
    "wandb": ("table/rollouts_{}.table.json", "openrlhf"),
}
# Several files take several times as long: `make chaos` draws a quarter of its ten thousand.
FEWER = settings(max_examples=max(40, settings.default.max_examples // 4))


def written(rows: list[dict[str, Any]], suffix: str) -> bytes:
    """Rows in the bytes of a format."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if suffix == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    if suffix in (".csv", ".tsv"):
        mark = {".csv": ",", ".tsv": "\t"}[suffix]
        cells = [[json.dumps(str(v)).replace('\\"', '""') for v in row.values()] for row in rows]
        return "\n".join([mark.join(rows[0]), *map(mark.join, cells)]).encode()
    if suffix == ".table.json":
        return json.dumps({"columns": list(rows[0]), "data": [list(r.values()) for r in rows]}).encode()
    return json.dumps(rows, indent=1).encode() if suffix == ".json" else lines.encode()


def mutated(rows: list[dict[str, Any]], suffix: str, random: randomness.Random) -> bytes:
    """A file with a column, a line or bytes changed."""
    content = written(rows, suffix.removesuffix(".gz"))
    if suffix in (".parquet", ".csv", ".tsv") and random.random() < 0.5:
        column, value = random.choice(list(rows[0])), random.choice(logfuzz.JUNK)
        try:
            return written([{**row, column: value} for row in rows], suffix)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):
            pass  # the format holds no such value
    if suffix == ".parquet":
        at = random.randrange(len(content))
        return content[:at] + random.randbytes(random.randrange(1, 4)) + content[at + 2 :]
    if suffix.endswith(".gz"):
        packed = gzip.compress(logfuzz.mutated(content, random))
        return packed if random.random() < 0.7 else packed[: random.randrange(len(packed))]
    return logfuzz.mutated(content, random)


@pytest.mark.parametrize("suffix", FORMATS)
@given(random=RANDOMS, kind=st.sampled_from(sorted(PROBLEMS)), skip=st.booleans())
def test_datasets(tmp_path_factory, suffix: str, random: randomness.Random, kind: str, skip: bool):
    path = tmp_path_factory.getbasetemp() / f"fuzzed-set{suffix}"
    row = PROBLEMS[kind]
    rows = [{**row, next(iter(row)): row[next(iter(row))]} for _ in range(4)]
    path.write_bytes(mutated(rows, suffix, random))
    try:
        table, _ = load_with_report(str(path), skip_damaged=skip)
        assert 0 < len(table) <= 9 and all(map(str.strip, table["prompt"][:] + table["answer"][:]))
    except DataError as error:
        assert "fuzzed-set" in str(error) and len(str(error)) < 1500


@pytest.mark.parametrize("suffix", FORMATS)
@given(random=RANDOMS, kind=st.sampled_from(sorted(REWARDS)))
def test_reward_logs(tmp_path_factory, suffix: str, random: randomness.Random, kind: str):
    path = tmp_path_factory.getbasetemp() / f"fuzzed-log{suffix}"
    path.write_bytes(mutated([dict(REWARDS[kind]) for _ in range(6)], suffix, random))
    try:
        log = read_rewards(path)
        assert log.rollouts == log.n_V.sum() > 0 and (log.successes_V <= log.n_V).all()
    except GdroError as error:
        assert "fuzzed-log" in str(error) and len(str(error)) < 1500


@pytest.mark.parametrize("program", FOLDERS)
@FEWER
@given(random=RANDOMS)
def test_folders_of_logs(tmp_path_factory, program: str, random: randomness.Random):
    folder = tmp_path_factory.getbasetemp() / "fuzzed-folder"
    shutil.rmtree(folder, ignore_errors=True)
    name, kind = FOLDERS[program]
    rows = [dict(REWARDS[kind]) for _ in range(6)]
    suffix = name[name.index("{}") + 2 :] if program == "wandb" else f".{name.rpartition('.')[2]}"
    damaged = random.randrange(1, 3)
    for number in (1, 2):
        path = folder / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = written(rows, suffix)
        path.write_bytes(mutated(rows, suffix, random) if number == damaged else whole)
    try:
        log = read_rewards(folder)
        assert log.rollouts == log.n_V.sum() > 0 and (log.successes_V <= log.n_V).all()
    except GdroError as error:
        assert "fuzzed-folder" in str(error) and len(str(error)) < 1500
