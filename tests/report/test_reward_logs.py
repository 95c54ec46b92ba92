"""Reward logs in the columns of other programs: read, grouped by prompt, and told what they come to."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdro.cli import main
from gdro.data import DataError
from gdro.report.diagnose import RewardLog, diagnose, read_rewards
from gdro.report.load import ReportError

Rows = list[dict[str, Any]]
# Prompt a: two of four right, b: none, c: all, in this order; each twice, in steps 1 and 2.
RIGHT = {"a": (0, 1, 0, 1), "b": (0, 0, 0, 0), "c": (1, 1, 1, 1)}
ROLLOUTS = [(s, q, k, float(r)) for s in (1, 2) for q, rs in RIGHT.items() for k, r in enumerate(rs)]


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Think."}, {"role": "user", "content": text}]


TRL = [
    {"step": s, "prompt": q, "completion": f"{k}", "accuracy": r, "advantage": 2 * r - 1}
    for s, q, k, r in ROLLOUTS
]
VERL = [
    {"input": q, "output": "o", "gts": "4", "score": 2 * r - 1, "step": s, "acc": bool(r)}
    for s, q, k, r in ROLLOUTS
]
FORMS: dict[str, Rows] = {
    "flat": [{"prompt_id": q, "reward": r, "step": s} for s, q, k, r in ROLLOUTS],
    "groups": [
        {"prompt_id": q, "rewards": list(rs), "step": s} for s in (1, 2) for q, rs in RIGHT.items()
    ],
    "counts": [
        {"key": q, "ticket": s, "n": 4, "successes": sum(rs), "reward": 0.5}
        for s in (1, 2)
        for q, rs in RIGHT.items()
    ],
    "trl": TRL,
    "trl, conversations": [{**row, "prompt": user(row["prompt"])} for row in TRL],
    "trl, two functions": [
        {
            **{k: row[k] for k in ("step", "prompt", "completion")},
            "format_reward": 1.0,
            "accuracy_reward": row["accuracy"],
            "advantage": row["advantage"],
        }
        for row in TRL
    ],
    "trl, other columns": [
        {
            **{k: row[k] for k in ("step", "prompt", "completion")},
            "my_reward": row["accuracy"],
            "length": 12,
            "advantage": row["advantage"],
        }
        for row in TRL
    ],
    "verl": VERL,
    "verl, a uid a rollout": [{**row, "uid": f"{i}_0_0"} for i, row in enumerate(VERL)],
    "openrlhf": [
        {"prompt": q, "response": "r", "label": "4", "reward": r, "step": s} for s, q, k, r in ROLLOUTS
    ],
    "prime-rl": [
        {
            "example_id": q,
            "task": "math",
            "prompt": user("x"),
            "reward": r,
            "advantage": 0.5,
            "step": s,
            "metrics": {"correct": r},
        }
        for s, q, k, r in ROLLOUTS
    ],
    "texts": [{"question": q, "score": str(r), "step": str(s)} for s, q, k, r in ROLLOUTS],
    "true and false": [{"problem": q, "correct": bool(r), "global_step": s} for s, q, k, r in ROLLOUTS],
    "row numbers": [
        {"index": i, "prompt": q, "reward": r, "step": s} for i, (s, q, k, r) in enumerate(ROLLOUTS)
    ],
    "ints as floats": [
        {"problem_id": float("abc".index(q)), "reward": r, "step": s} for s, q, k, r in ROLLOUTS
    ],
    "unscored": [
        row
        for s, q, k, r in ROLLOUTS
        for row in (
            {"prompt_id": q, "reward": r, "step": s},
            {"prompt_id": q, "reward": None, "step": s},
        )
    ],
    "nan": [
        row
        for s, q, k, r in ROLLOUTS
        for row in (
            {"prompt_id": q, "reward": r, "step": s},
            {"prompt_id": q, "reward": float("nan"), "step": s},
        )
    ],
}


def written(path: Path, rows: Rows) -> Path:
    """Rows in the format of the file's suffix."""
    path.parent.mkdir(exist_ok=True, parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            sheet = csv.writer(file)
            cells = [
                [json.dumps(v) if isinstance(v, list | dict) else v for v in r.values()] for r in rows
            ]
            sheet.writerows([list(rows[0]), *cells])
    elif path.name.endswith(".table.json"):
        path.write_text(json.dumps({"columns": list(rows[0]), "data": [list(r.values()) for r in rows]}))
    else:
        path.write_text(json.dumps(rows, indent=1) if path.suffix == ".json" else lines)
    return path


def check(log: RewardLog) -> None:
    """Six groups of four rollouts, in two steps."""
    assert len(log.keys) == 3 and log.trials_K.tolist() == [8, 8, 8]
    assert log.right_K.tolist() == [4, 0, 8] and sorted(set(log.step_V.tolist())) == [0, 1]
    assert log.n_V.tolist() == [4] * 6 and log.gradient_V.tolist() == [1, 0, 0] * 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv", ".jsonl.gz", ".table.json"])
def test_forms(tmp_path: Path, form: str, suffix: str) -> None:
    rows = FORMS[form]
    path = written(tmp_path / f"log{suffix}", rows)
    check(read_rewards(path))


@pytest.mark.parametrize(
    "names",
    [
        ("completions/completions_00001.parquet", "completions/completions_00010.parquet"),
        ("1.jsonl", "10.jsonl"),
        ("rollouts/step_1/train_rollouts.jsonl", "rollouts/step_10/train_rollouts.jsonl"),
    ],
    ids=["trl", "verl", "prime-rl"],
)
@pytest.mark.parametrize("stepped", [True, False])
def test_folders(tmp_path: Path, names: tuple[str, str], stepped: bool) -> None:
    for step, name in zip((1, 2), names, strict=True):
        rows = [{**row} for row in TRL if row["step"] == step]
        for row in rows if not stepped else []:
            del row["step"]
        written(tmp_path / name, rows)
    (tmp_path / "notes.txt").write_text("no rows")
    log = read_rewards(tmp_path)
    check(log)
    assert log.program == ("TRL" if stepped else "")
    if "/" in names[0]:
        check(read_rewards(tmp_path / names[0].split("/")[0]))
        (tmp_path / "config.json").write_text("{}")  # a trainer's folder holds other files
        check(read_rewards(tmp_path))


def test_a_run_of_ours_is_a_folder_too(folder: Path) -> None:
    log = read_rewards(folder / "grpo")
    assert log.rollouts == read_rewards(folder / "grpo/gdro/groups.jsonl").rollouts == 30 * 128


def test_lm_evals_filters_are_no_rollouts(tmp_path: Path) -> None:
    for repeat in (0, 1):
        rows = [
            {"doc_id": i, "resps": [["r"]], "filter": name, "exact_match": float(i == repeat)}
            for i in range(3)
            for name in ("strict-match", "flexible-extract")
        ]
        written(tmp_path / f"model/samples_gsm8k_{repeat}.jsonl", rows)
    written(tmp_path / "model/results_1.json", [{"results": 1}])
    log = read_rewards(tmp_path)
    assert log.rollouts == 6 and log.keys == ["0", "1", "2"] and log.right_K.tolist() == [1, 1, 0]
    assert any("other filters than 'strict-match'" in note for note in log.notes)
    assert any("Every group has one rollout" in note for note in log.notes)


def test_ids_of_several_sets_are_apart(tmp_path: Path) -> None:
    rows = [{"problem_id": 0, "task": t, "reward": r} for t in ("math", "code") for r in (0.0, 1.0)]
    assert read_rewards(written(tmp_path / "a.jsonl", rows)).keys == ["math/0", "code/0"]


def test_columns_of_ones_own(tmp_path: Path) -> None:
    rows = [{"q": {"name": q}, "grade": 3 * r, "bonus": 1.0, "step": s} for s, q, k, r in ROLLOUTS]
    path = written(tmp_path / "log.jsonl", rows)
    with pytest.raises(ReportError, match="any of grade, bonus may be the reward"):
        read_rewards(path)
    with pytest.raises(
        ReportError, match=r"it has q.name, grade, bonus, step\); name the columns with --id"
    ):
        read_rewards(path, reward_columns=["grade"])
    check(read_rewards(path, 2.0, id_column="q.name", reward_columns=["grade"]))
    check(read_rewards(path, 2.0, id_column="q.name", reward_columns=["grade", "bonus"]))
    for option, given in (("--id", {"id_column": "x"}), ("--reward", {"reward_columns": ["x"]})):
        with pytest.raises(ReportError, match=f"{option} is 'x', but .* has q.name, grade"):
            read_rewards(path, **given)


def test_several_rewards_are_asked_about(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "prompt": "a", "completion": "", "reward_1": 1.0, "reward_2": 0.0, "advantage": 0.0}
    ]
    path = written(tmp_path / "log.jsonl", rows * 4)
    with pytest.raises(ReportError, match="any of reward_1, reward_2 may be the reward"):
        read_rewards(path)
    log = read_rewards(path, reward_columns=["reward_1", "reward_2"])
    assert log.successes_V.tolist() == [4] and log.gradient_V.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "n", "right"),
    {
        "no last newline": (
            '{"prompt_id": "a", "rewards": [1, 0]}\n{"prompt_id": "b", "rewards": [0]}',
            [2, 1],
            [1, 0],
        ),
        "cut off": ('{"prompt_id": "a", "rewards": [1, 0]}\n{"prompt_id": "b", "rew', [2], [1]),
        "blank lines": (
            '\n{"prompt_id": "a", "rewards": [1, 0]}\n\n \n{"prompt_id": "b", "rewards": [0]}\n',
            [2, 1],
            [1, 0],
        ),
        "mark and returns": (
            '\ufeff{"prompt_id": "a", "rewards": [1, 0]}\r\n{"prompt_id": "b", "rewards": [0]}\r\n',
            [2, 1],
            [1, 0],
        ),
        "NaN and null": ('{"prompt_id": "a", "rewards": [NaN, 0.0, 1.0, null]}\n', [2], [1]),
        "numbers as texts": (
            '{"prompt_id": "a", "rewards": ["1", "0.0", " 1e0 ", "nan", "True"]}\n',
            [4],
            [3],
        ),
        "a list as text": ('{"prompt_id": "a", "rewards": "[1, 0]"}\n', [2], [1]),
        "a step that changes type": (
            '{"key": "a", "rewards": [1], "step": 1}\n{"key": "a", "rewards": [1], "step": "x"}\n',
            [1, 1],
            [1, 1],
        ),
        "a group twice in a step": (
            '{"prompt_id": "a", "rewards": [1]}\n{"prompt_id": "a", "rewards": [0]}\n',
            [1, 1],
            [1, 0],
        ),
    }.values(),
)
def test_lines_as_writers_leave_them(tmp_path: Path, text: str, n: list[int], right: list[int]) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text, encoding="utf-8", newline="")
    log = read_rewards(path)
    assert (log.n_V.tolist(), log.successes_V.tolist()) == (n, right)


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "digits": ('{"prompt_id": "a", "rewards": "1011"}\n', "row 1: .*rewards is '1011', not a list"),
        "words": ('{"prompt_id": "a", "reward": "good"}\n', "row 1: .*a reward is 'good'"),
        "infinite": ('{"prompt_id": "a", "reward": Infinity}\n', "row 1: .*a reward is inf"),
        "no id": ('{"prompt_id": null, "rewards": [1, 0]}\n', "row 1: .*an id is None"),
        "an empty id": (
            '{"prompt_id": "a", "reward": 1}\n{"prompt_id": " ", "reward": 1}\n',
            "row 2: .*no prompt in prompt_id",
        ),
        "a lost id": (
            '{"prompt_id": "a", "reward": 1}\n{"reward": 1}\n',
            "row 2: .*no prompt in prompt_id",
        ),
        "a lost reward": (
            '{"prompt_id": "a", "reward": 1}\n{"prompt_id": "a"}\n',
            "row 2: .*it has prompt_id",
        ),
        "true as an id": ('{"prompt_id": true, "rewards": [1]}\n', "row 1: .*an id is True"),
        "a list in a list": ('{"prompt_id": "a", "rewards": [[1]]}\n', r"row 1: .*a reward is \[1\]"),
        "a damaged line": (
            '{"prompt_id": "a", "reward": 1}\n{"prompt\n{"prompt_id": "a", "reward": 1}\n',
            "row 2: it is not JSON",
        ),
        "all unscored": ('{"prompt_id": "a", "rewards": [null]}\n', "holds no scored rollout"),
        "rows under a key": ('{"rows": [{"prompt_id": "a", "reward": 1}]}\n', "the rows under 'rows'"),
        "a long list": (
            '{"prompt_id": "a", "rewards": [' + "0, " * 20_000 + "0]}\n",
            "20,001 rewards; at most 16384",
        ),
    }.values(),
)
def test_what_cannot_be_read_names_the_row(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises((ReportError, DataError), match=said) as refused:
        read_rewards(path)
    assert "log.jsonl" in str(refused.value) and len(str(refused.value)) < 1000


def test_long_prompts_have_short_ids_that_differ(tmp_path: Path) -> None:
    rows = [{"prompt": "x" * 50_000 + q, "reward": r} for _, q, _, r in ROLLOUTS]
    log = read_rewards(written(tmp_path / "log.jsonl", rows))
    assert len(log.keys) == 3 and max(map(len, log.keys)) < 120


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.0, 0.4, "No reward is"), (0.6, 1.0, "Every reward is")]
)
def test_a_threshold_that_divides_nothing_is_told(
    tmp_path: Path, low: float, high: float, said: str
) -> None:
    rows = [{"prompt": q, "reward": high if r else low} for _, q, _, r in ROLLOUTS]
    notes = read_rewards(written(tmp_path / "log.jsonl", rows)).notes
    assert any(f"{said} above 0.5 (they lie from {low:g} to {high:g})" in note for note in notes)


def varied(program: Rows) -> Rows:
    """Sixty prompts in six steps: a third is never solved, a third always, a third half of the time."""
    rows: Rows = []
    for step in range(6):
        for i in range(step % 2, 60, 2):
            for k in range(8):
                changed = {"step": step, "prompt": f"{i}", "input": f"{i}"}
                changed |= dict.fromkeys(("accuracy", "score"), float((0, k < 4, 1)[i % 3]))
                rows.append({**program[0], **{n: v for n, v in changed.items() if n in program[0]}})
    return rows


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("trl", '+trainer = GDROTrainer(..., strategy="dapo")'),
        ("verl", "+  trainer.v1.trainer_mode=gdro +gdro.strategy=dapo"),
    ],
)
def test_the_end_says_what_was_wasted_where_and_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], program: str, line: str
) -> None:
    path = written(tmp_path / "log.jsonl", varied(FORMS[program]))
    page = tmp_path / "d.html"
    arms = ["--strategy", "uniform", "--strategy", "dapo"]
    assert main(["diagnose", str(path), "-o", str(page), *arms]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{page}\n") and "67% of your 1,440 rollouts were wasted" in said
    assert "20 of 60 prompts that were never solved: '0' (24 rollouts), '6' (24 rollouts), '12'" in said
    assert "20 of 60 prompts that were always solved" in said and "in the trial: uniform 4" in said
    assert "To try dapo, which solved the most prompts" in said and said.rstrip().endswith(line)
    text = page.read_text()
    assert "What to do" in text and "67% of your 1,440 rollouts were wasted" in text


def test_nothing_to_change_is_said(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}", "reward": float(k % 2)} for i in range(32) for k in range(16)]
    end = diagnose(written(tmp_path / "log.jsonl", rows), arms=["uniform"]).conclusion
    assert not end.change and "names no line to change" in end.text and "0% of your 512" in end.text


def episode(step: int, prompt: str, reward: float | None, number: int = 0) -> dict[str, Any]:
    """A line as prime-rl writes it since August 2026: an episode with its agents' traces."""
    task = {"type": "Sums", "data": {"idx": ord(prompt), "prompt": "What?"}, "key": prompt}
    scores = {"right": None if reward is None else {"score": reward, "weight": 1.0}}
    trace = {
        **{"version": 1, "id": f"{number}", "task": task, "agent": {"name": "agent", "trainable": True}},
        **{"nodes": [{"message": {"role": "user", "content": "What?"}}], "rewards": scores},
        **{"metrics": {"reward": 0.5}, "ok": True},
    }
    work = {"type": "train", "step": step}
    return {
        **{"id": f"e{number}", "env": {"id": "sums", "name": "sums"}, "task": task, "ok": True},
        **{"group": {"id": f"{step}-{prompt}"}, "run": {"type": "train", "id": "r", "work": work}},
        **{"errors": [], "traces": [trace]},
    }


EPISODES = [episode(s, q, r, i) for i, (s, q, k, r) in enumerate(ROLLOUTS)]


def test_episodes_of_prime_rl(tmp_path: Path) -> None:
    for step in (1, 2):
        rows = EPISODES[12 * (step - 1) : 12 * step]
        folder = tmp_path / f"rollouts/step_{step}"
        written(folder / "train/all/traces.jsonl", rows)
        written(folder / "train/effective/traces.jsonl", rows[:4])
        written(folder / "eval/all/traces.jsonl", rows)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "time": 2.0, "reward/mean": 0.5}\n')
    for place in (tmp_path, tmp_path / "rollouts"):
        log = read_rewards(place)
        check(log)
        assert log.keys == ["a", "b", "c"] and "'prompt_id' and 'group.id'" in log.notes[0]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
def test_episodes_in_one_file(tmp_path: Path, suffix: str) -> None:
    check(read_rewards(written(tmp_path / f"log{suffix}", EPISODES)))


def test_traces_of_their_own_are_rollouts_too(tmp_path: Path) -> None:
    traces = [{**e["traces"][0], "run": e["run"]} for e in EPISODES]
    check(read_rewards(written(tmp_path / "log.jsonl", traces)))


def test_a_group_that_ends_over_several_steps_is_one(tmp_path: Path) -> None:
    for step in (1, 2):
        rows = [{**e, "run": None} for e in EPISODES[step - 1 :: 2]]
        written(tmp_path / f"rollouts/step_{step}/train/all/traces.jsonl", rows)
    log = read_rewards(tmp_path)
    assert log.n_V.tolist() == [4] * 6 and set(log.step_V.tolist()) == {0}


def test_rewards_of_traces(tmp_path: Path) -> None:
    rows = [json.loads(json.dumps(e)) for e in EPISODES[:6]]
    for i, row in enumerate(rows):  # weighted sums: .25, .75, ...
        row["traces"][0]["rewards"] = {
            "a": {"score": i % 2, "weight": 0.5},
            "b": {"score": 0.25},
            "c": None,
        }
    rows[4]["traces"] = []  # a failure without a trace
    rows[5]["traces"][0]["rewards"] = {"right": None}
    judge = {
        "agent": {"name": "judge", "trainable": False},
        "rewards": {"a": {"score": 1.0, "weight": 1.0}},
    }
    rows[0]["traces"].append(judge)
    log = read_rewards(written(tmp_path / "log.jsonl", rows))
    assert (log.keys, log.n_V.tolist(), log.successes_V.tolist()) == (["a"], [4], [2])
    assert any(note.startswith("2 rollouts without a reward") for note in log.notes)


def test_agents_of_an_episode_are_apart(tmp_path: Path) -> None:
    rows = [json.loads(json.dumps(e)) for e in EPISODES[:4]]
    for row in rows:
        critic = json.loads(json.dumps(row["traces"][0]))
        critic["agent"]["name"] = "critic"
        row["traces"].append(critic)
    log = read_rewards(written(tmp_path / "log.jsonl", rows))
    assert sorted(log.keys) == ["sums/agent/a", "sums/critic/a"] and log.n_V.tolist() == [4, 4]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("rewards", {"right": {"score": "good"}}, "row 2: a reward is 'good'"),
        ("rewards", {"right": {"score": 1.0, "weight": None}}, "row 2: reward 'right' is"),
        ("rewards", {"right": {"score": [1.0]}}, "row 2: reward 'right' is"),
    ],
)
def test_a_damaged_trace_is_named(tmp_path: Path, place: str, value: Any, said: str) -> None:
    rows = [json.loads(json.dumps(e)) for e in EPISODES[:4]]
    rows[1]["traces"][0][place] = value
    with pytest.raises(ReportError, match=said):
        read_rewards(written(tmp_path / "log.jsonl", rows))


def test_an_episode_without_a_task_to_name_is_one_error(tmp_path: Path) -> None:
    row = {**EPISODES[0], "task": {"type": "Sums", "data": {}}}
    with pytest.raises(ReportError, match=r"log.jsonl, row 1: .*no prompt"):
        read_rewards(written(tmp_path / "log.jsonl", [row, row]))
