"""What counts as right: every form of `correct=`, and the rule where it says nothing."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from trl import GRPOTrainer

from gdro import CheckpointError, OutcomeError
from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.columns import columns_read
from gdro.integrations.trl.correct import Scores, check_correct, read_correct
from gdro.integrations.trl.rule import RULE_FILE, Upper, rule
from gdro.log.run_log import read_jsonl
from gdro.rewards import combined, exact_match, first_line, format_reward, math_reward

NAN = float("nan")
NAMES = ["math", "code", "style"]


def odd(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    """Scores the rows of odd answers alone, as a task of several does."""
    scores = tiny.lucky(completions, answer)
    return [s if int(a) % 2 else None for a, s in zip(answer, scores, strict=True)]


def even(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    """Partial credit on the rows of even answers."""
    share = [len(set(tiny._text(c))) / 5 for c in completions]
    return [None if int(a) % 2 else s for a, s in zip(answer, share, strict=True)]


def steps(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Partial credit alone: never above a quarter."""
    return [len(set(tiny._text(c))) / 20 for c in completions]


def shape(completions: list[Any], **_: Any) -> list[float]:
    """A check of the format: it reads no column."""
    return [float(len(tiny._text(c)) > 2) for c in completions]


def train(kind: type = GDROTrainer, rewards: Any = tiny.lucky, given: Any = None, **config: Any):
    trainer = kind(
        model=tiny.model(),
        reward_funcs=rewards,
        args=tiny.config(**config),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        **(given or {}),
    )
    trainer.train()
    return trainer


# -- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["group", "batch"])
@pytest.mark.parametrize("correct", [None, "odd", ["odd", "even"]])
def test_two_tasks_train_as_in_grpotrainer(correct: Any, scale: str) -> None:
    """Each function scores half of the rows: all of them have an advantage, whatever judges them."""
    plain = train(GRPOTrainer, [odd, even], scale_rewards=scale)
    ours = train(
        rewards=[odd, even], given={"strategy": "uniform", "correct": correct}, scale_rewards=scale
    )
    assert torch.equal(tiny.weights(plain), tiny.weights(ours))
    visits_N = ours.controller.belief.visits_N
    keys = ours.controller.problem.prompt_keys
    answers = {ours._pool.key(row): int(row["answer"]) for row in tiny.dataset()}
    visited = {answers[key.split("#")[0]] % 2 for key, n in zip(keys, visits_N, strict=True) if n}
    assert 1 in visited if correct is None else visited == {1} | ({0} if "even" in correct else set())
    assert ours.controller.ledger.unscored == 0
    unjudged = sum(h.get("gdro/unjudged_groups", 0) for h in ours.state.log_history)
    assert correct is None or (unjudged > 0) == (visited == {1})


@pytest.mark.parametrize("strategy", ["dapo", "speed", "greso", "memory", None])
def test_partial_credit_trains_groups_that_are_all_wrong(strategy: str | None) -> None:
    """Nothing is right, and every group has a gradient: none is dropped, skipped or replaced."""
    trainer = train(rewards=steps, given={"strategy": strategy}, max_steps=6)
    history = [h for h in trainer.state.log_history if "gdro/gradient" in h]
    assert [h["gdro/pass_rate"] for h in history] == [0.0] * 6
    assert all(h["gdro/gradient"] > 0.7 > h["gdro/mixed"] == 0 for h in history)
    if strategy == "dapo":
        assert trainer.controller.ledger.rollouts < 6 * 16 * 2, "few groups were refilled"
    if strategy == "greso":
        assert trainer.controller._state.run_N[:].max() <= 1
    if strategy == "memory":
        assert trainer.controller.ledger.recalled == 0
    assert not torch.equal(tiny.weights(trainer), tiny.weights_of(tiny.model()))


def test_rows_that_agree_up_to_rounding_make_room_for_memory() -> None:
    """Three rewards of .9 have another mean in single precision, and so advantages of 6e-4."""

    def flat(completions: list[Any], **_: Any) -> list[float]:
        return [0.9] * len(completions)

    given = {"strategy": "memory(anchor_rate=0.0, anchors=4)"}
    rows = {"num_generations": 3, "per_device_train_batch_size": 12, "max_steps": 10}
    trainer = train(rewards=flat, given=given, **rows)
    groups = list(read_jsonl(Path(trainer.args.output_dir) / "gdro" / "groups.jsonl"))
    dead = [g for g in groups if not g["gradient"]]
    assert len(dead) == len(groups)
    steps = list(read_jsonl(Path(trainer.args.output_dir) / "gdro" / "steps.jsonl"))
    joined = [step["memory_anchors"] for step in steps]
    # From the second step on there is a success in store, and no row has a gradient.
    assert max(joined) == 4.0 and all(joined[2:])


# -- forms of correct= ------------------------------------------------------------------------


def judged(correct: Any, each_RK: list[list[float]], called: Any = None) -> list[bool | None]:
    """Verdicts of rows, None where there is none."""
    each = np.array(each_RK, np.float32)
    total = np.where(np.isnan(each).all(1), np.nan, np.nansum(each, axis=1)).astype(np.float32)
    functions = [tiny.lucky, tiny.length, tiny.picky]
    judge = read_correct(correct, NAMES, functions)
    found = judge.judge(Scores(each, total, called))
    assert judge.text and judge.hint(0.3)
    return [bool(c) if j else None for c, j in zip(found.correct_R, found.judged_R, strict=True)]


ROWS = [[1, NAN, 0.2], [NAN, 0.7, 0.9], [0.1, 0.9, 0.6], [NAN, NAN, NAN]]


@pytest.mark.parametrize(
    ("correct", "verdicts"),
    [
        ("math", [True, None, False, None]),
        (("math", 0.05), [True, None, True, None]),
        (["math", 0.05], [True, None, True, None]),
        (("style", 0.9), [False, False, False, None]),  # 0.9 is not above 0.9 in single precision
        (["math", "code"], [True, True, False, None]),
        (["math", ("code", 0.8)], [True, False, False, None]),
        (("code", "math"), [True, True, True, None]),
        (("total", 1.5), [False, True, True, None]),
        (tiny.lucky, [True, None, False, None]),
        ((tiny.picky, 0.5), [False, True, True, None]),
    ],
)
def test_each_form(correct: Any, verdicts: list[bool | None]) -> None:
    check_correct(correct)
    assert judged(correct, ROWS) == verdicts


@pytest.mark.parametrize(
    ("correct", "words"),
    [
        (3, r"correct is 3; allowed: the name of a reward function, \(name, threshold\)"),
        (["math", True], r"correct is \['math', True\]; allowed"),
        ([], r"correct is \[\]; allowed"),
        ({"math": 0.5}, "correct is {'math': 0.5}; allowed"),
        (("math", float("nan")), "correct is .*nan.*; allowed"),
        ("maths", "'maths'; did you mean 'math'. the trainer has math, code, style"),
        (["math", "colour"], "'colour'; the trainer has math, code, style"),
        ("total", r"needs a threshold: pass correct=\('total', THRESHOLD\)"),
        (("total",), r"needs a threshold: pass correct=\('total', THRESHOLD\)"),
        (str, "correct is the class str, not a function; allowed: the name of a reward function"),
        (GDROTrainer, "correct is the class GDROTrainer, not a function; allowed"),
        ([str, "math"], "holds the function 'str', which is no reward function"),
        ([tiny.dataset, "math"], "holds the function 'dataset', which is no reward function"),
    ],
)
def test_a_wrong_correct_is_one_error(correct: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        check_correct(correct)
        read_correct(correct, NAMES, [tiny.lucky, tiny.length, tiny.picky])


def test_a_wrong_type_is_told_before_a_model_is_loaded() -> None:
    with pytest.raises(UnsupportedError, match=r"correct is 0\.5; allowed"):
        GDROTrainer("no/such/model", [odd, even], train_dataset=tiny.dataset(), correct=0.5)


def test_two_functions_of_one_name_are_told_apart_by_themselves() -> None:
    functions = [tiny.lucky, tiny.length]
    with pytest.raises(UnsupportedError, match="2 of the trainer's have that name"):
        read_correct("same", ["same", "same"], functions)
    assert read_correct(tiny.length, ["same", "same"], functions).columns == (1,)


def test_a_function_of_mine_judges_rows() -> None:
    seen: list[dict[str, Any]] = []

    def mine(completions: list[Any], answer: list[str], **others: Any) -> list[bool | None]:
        seen.append(others)
        return [None if int(a) % 3 == 0 else "1" in c for a, c in zip(answer, completions, strict=True)]

    trainer = train(rewards=[steps, shape], given={"strategy": "rollout-gdro", "correct": mine})
    assert {"prompts", "completion_ids", "trainer_state", "parity"} <= set(seen[0])
    assert len(seen) == 4 and 0 < trainer.controller.belief.visits_N.sum() < 16
    never = [int(a) % 3 == 0 for a in tiny.dataset()["answer"]]
    assert trainer.controller.belief.visits_N[never].sum() == 0
    header = json.loads((Path(trainer.args.output_dir) / "gdro" / "run.json").read_text())
    assert header["correct"] == "what mine() says"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([True], "1 verdicts for 16 rows"),
        (["yes"] * 16, "returned 'yes'"),
        (None, "returned None; it must return a list"),
        (True, "returned True; it must return a list"),
        ({"right": True}, "returned {'right': True}; it must return a list"),
    ],
)
def test_a_function_of_mine_that_answers_badly_is_told(answer: Any, words: str) -> None:
    def mine(**_: Any) -> Any:
        return answer

    with pytest.raises(OutcomeError, match=rf"correct=mine {words}|correct=mine returned {words}"):
        train(given={"correct": mine, "strategy": "uniform"}, max_steps=1)


def test_a_function_of_mine_that_cannot_be_called_is_told_before_anything_is_generated() -> None:
    with pytest.raises(
        UnsupportedError, match=r"correct=mine\(text.* cannot be called.*answer, id, .*by"
    ):
        train(given={"correct": mine_of_text, "strategy": "uniform"}, max_steps=1)


@pytest.mark.parametrize("builtin", [max, len, print])
def test_a_built_in_is_no_judge(builtin: Any) -> None:
    with pytest.raises(
        UnsupportedError, match=f"correct={builtin.__name__}.*(built-in|cannot be called)"
    ):
        train(given={"correct": builtin, "strategy": "uniform"}, max_steps=1)


def mine_of_text(text: str) -> bool:
    return bool(text)


mine_of_text.__name__ = "mine"


@pytest.mark.parametrize("gave", [float("inf"), float("-inf"), 1e30])
def test_an_infinite_reward_names_the_function_and_what_to_return(gave: float) -> None:
    def division(completions: list[Any], **_: Any) -> list[float]:
        return [0.0, *[gave] * (len(completions) - 1)]

    words = (
        rf"'division' gave {gave:g} for an answer to the prompt '\d\d\+a='.*return None where there is"
    )
    with pytest.raises(OutcomeError, match=words.replace("+30", r"\+30")) as told:
        train(rewards=[tiny.lucky, division], given={"strategy": "uniform"}, max_steps=1)
    assert "valid_R" not in str(told.value)
    # Infinities that cancel would be a row without a reward.
    with pytest.raises(OutcomeError, match=r"'.*' gave .* for an answer"):
        train(rewards=[division, lambda completions, **_: [-gave] * len(completions)], max_steps=1)


# -- the rule ---------------------------------------------------------------------------------


COLUMNS = ["prompt", "answer"]


def upper(functions: list[Any], *batches: list[list[float]], weights: Any = None) -> tuple[Any, Any]:
    """The rule after some batches, and its verdicts on the last."""
    names = [f.__name__ for f in functions]
    judge = rule(names, functions, weights or [1.0] * len(names), COLUMNS)
    for batch in batches:
        each = np.array(batch, np.float32)
        total = np.where(np.isnan(each).all(1), np.nan, np.nansum(each, axis=1)).astype(np.float32)
        judge.see(scores := Scores(each, total))
        found = judge.judge(scores)
    return judge, [bool(c) if j else None for c, j in zip(found.correct_R, found.judged_R, strict=True)]


def test_one_function_is_taken_above_a_half() -> None:
    judge = rule(["lucky"], [tiny.lucky], [1.0], COLUMNS)
    assert judge.text == "reward 'lucky' above 0.5"


def test_the_function_that_reads_the_answer_is_taken_wherever_it_stands() -> None:
    for functions in ([shape, tiny.lucky], [tiny.lucky, shape]):
        mine = functions.index(tiny.lucky)
        rows = [[1.0, 1.0], [0.0, 0.0]]
        rows[0][mine], rows[1][mine] = 0.0, 2.0
        judge, verdicts = upper(functions, rows)
        assert verdicts == [False, True], "the format counts for nothing"
        assert judge.text == "reward 'lucky', which reads 'answer', at its upper value"


def takes(completions: list[Any], **kwargs: Any) -> list[float]:
    return [float(c == a) for c, a in zip(completions, kwargs["answer"], strict=True)]


def gets(completions: list[Any], *_: Any, **others: Any) -> list[float]:
    return [float(c in others.get("answer", ())) for c in completions]


def speaks(completions: list[Any], **kwargs: Any) -> list[float]:
    return [float("answer" in c) for c in completions]


class Checker:
    __name__ = "checker"

    def __call__(self, completions: list[Any], **kwargs: Any) -> list[float]:
        return takes(completions, answer=kwargs["answer"])


@pytest.mark.parametrize("check", [takes, gets, partial(takes), Checker(), Checker().__call__])
def test_what_is_taken_out_of_kwargs_is_read_too(check: Any) -> None:
    assert columns_read(check, COLUMNS) == ["answer"]
    judge = rule(["speaks", "check"], [speaks, check], [1.0, 1.0], COLUMNS)
    assert judge.text == "reward 'check', which reads 'answer', at its upper value"


def test_several_tasks_are_judged_by_the_function_that_scores_the_row() -> None:
    judge, verdicts = upper([odd, tiny.picky], [[1, NAN], [0, NAN]], [[1, NAN], [NAN, 0], [NAN, 1]])
    assert verdicts == [True, False, True]
    assert "'odd' and 'picky', which read 'answer', each at its upper value" in judge.text


def test_a_third_value_counts_in_the_first_rewards_only() -> None:
    two, three = [[0.2, 1]] * 8 + [[0.8, 1]] * 8, [[0.2, 1], [0.5, 1], [0.8, 1]]
    judge, _ = upper([even, shape], two, three)
    assert "middle" in judge.text
    judge, verdicts = upper([even, shape], *[two] * 4, three)
    assert "at its upper value" in judge.text and verdicts == [False, False, True]


def test_partial_credit_is_left_out() -> None:
    judge, verdicts = upper([odd, even], [[1, NAN], [0, NAN], [NAN, 0.2], [NAN, 0.4], [NAN, 0.9]])
    assert verdicts == [True, False, None, None, None]
    assert "'odd', which reads" in judge.text and "even" not in judge.text
    assert "'odd'" in judge.hint(0.3) or "odd" in judge.hint(0.3)


def test_where_all_is_partial_the_middle_divides() -> None:
    judge, verdicts = upper([steps, shape], [[0.1, 0], [0.2, 1], [0.5, 0]], [[0.4, 0], [NAN, 1]])
    assert verdicts == [True, None]
    assert "'steps' above 0.3, the middle" in judge.text


def test_one_value_so_far_is_right_above_zero() -> None:
    assert upper([tiny.lucky, shape], [[0, 1]])[1] == [False]
    assert upper([tiny.lucky, shape], [[1, 1]])[1] == [True]
    assert upper([tiny.lucky, shape], [[2, 1]], [[0.5, 1]])[1] == [False]
    assert upper([tiny.lucky, shape], [[-1, 1]], [[2, 1]], [[-1, 1]])[1] == [False]


def test_functions_that_subtract_are_not_taken() -> None:
    judge, _ = upper([tiny.lucky, tiny.picky], [[1, 1]], weights=[-1.0, 1.0])
    assert "'picky'" in judge.text and "lucky" not in judge.text


def test_the_largest_total_where_it_is_known() -> None:
    functions = [math_reward(), format_reward()]
    judge, verdicts = upper(functions, [[1, 1], [1, 0], [NAN, 1], [NAN, NAN]])
    assert verdicts == [True, False, True, None]
    assert judge.text == "the largest total reward (2 of all functions together)"
    weighted = rule(["math", "format"], functions, [1.0, 0.2], COLUMNS)
    each, total = np.array([[1, 1], [1, 0]], np.float32), np.array([1.2, 1.0], np.float32)
    assert weighted.judge(Scores(each, total)).correct_R.tolist() == [True, False]
    assert not isinstance(upper([*functions, shape], [[1, 1, 1]])[0], type(judge))


def test_rewards_of_gdro_say_what_they_give_and_read() -> None:
    both = combined({exact_match("gold"): 2.0, format_reward(): 0.5})
    assert (both.largest, both.reads) == (2.5, ("gold",))
    assert first_line(math_reward(column="a")).reads == ("a",)
    assert not hasattr(combined({shape: 1.0}), "largest")


def test_what_the_rule_saw_outlives_a_resume(tmp_path: Path) -> None:
    judge, _ = upper([odd, even], [[1, NAN], [0, NAN], [NAN, 0.2], [NAN, 0.4], [NAN, 0.9]])
    judge.save(tmp_path)
    resumed = rule(["odd", "even"], [odd, even], [1.0, 1.0], COLUMNS)
    resumed.load(tmp_path)
    assert resumed.text == judge.text and vars(resumed) == {**vars(judge), "_weights": resumed._weights}
    others = rule(["odd", "picky"], [odd, tiny.picky], [1.0, 1.0], COLUMNS)
    others.load(tmp_path)
    assert "picky" in others.text
    others.load(tmp_path / "absent")
    for text in (
        "{",
        '{"names": ["odd", "even"], "values": [[0, 1, 2], null], "counts": [3, 9], "middle": null}',
        "[]",
    ):
        (tmp_path / RULE_FILE).write_text(text)
        with pytest.raises(CheckpointError, match="is damaged"):
            resumed.load(tmp_path)


def test_several_rewards_train_without_correct_and_resume_alike(capsys: Any) -> None:
    given = {"strategy": "rollout-gdro"}
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole = train(rewards=[shape, tiny.lucky], given=given, **options)
    said = capsys.readouterr().err
    assert said.count("right is reward 'lucky', which reads 'answer', at its upper value") == 1
    assert "24 prompts, 4 a step" in said and "say otherwise with correct=" in said
    resumed = GDROTrainer(
        model=tiny.model(),
        reward_funcs=[shape, tiny.lucky],
        args=whole.args,
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        **given,
    )
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-2")
    assert resumed.controller.digest() == whole.controller.digest()
    assert vars(resumed._gdro_judging.judge)["_values"] == vars(whole._gdro_judging.judge)["_values"]
    groups = list(read_jsonl(Path(whole.args.output_dir) / "gdro" / "groups.jsonl"))
    assert {"rows", "gradient"} <= set(groups[0])


def test_a_change_of_what_is_right_is_said_and_everything_right_is_doubted(capsys: Any) -> None:
    with pytest.warns(UserWarning, match="every rollout of the first 5 plans.*'length' above -1"):
        train(rewards=tiny.length, given={"strategy": "uniform", "correct": ("length", -1)}, max_steps=6)
    capsys.readouterr()
    train(rewards=[steps, even], given={"strategy": "uniform"}, max_steps=4)
    assert "the middle of what it was" in capsys.readouterr().err
    assert isinstance(rule(["a", "b"], [steps, even], [1.0, 1.0], COLUMNS), Upper)
