"""Tools, environments and rollout functions in real trainings: rows, masks, counts, refusals."""

from __future__ import annotations

from typing import Any

import agents
import numpy as np
import pytest
import tiny
import torch
from agents import KINDS, WITH_TOOLS, Guess, make

from gdro.errors import OutcomeError, ProblemError, UnsupportedError
from gdro.integrations.trl.batches import chosen_rows
from gdro.integrations.trl.losses import ADVANTAGE, surrogate
from gdro.integrations.trl.turns import loss_mask, turns
from gdro.log.run_log import COMPLETIONS, PROMPTS, read_jsonl

ALL = [
    pytest.param(kind, marks=() if kind == "rollout function" else WITH_TOOLS) for kind in sorted(KINDS)
]


class Spy:
    """What a trainer generated, and what became of it."""

    def __init__(self, trainer: Any) -> None:
        self.rounds: list[dict[str, Any]] = []
        self.steps: list[Any] = []
        self.batches: list[dict[str, Any]] = []
        generate, rows = trainer._gdro_generate, trainer._gdro_batch

        def keep_round(offered: Any, prompt_R: Any) -> Any:
            batch, seen = generate(offered, prompt_R)
            self.rounds.append({k: v.clone() for k, v in batch.items() if torch.is_tensor(v)})
            return batch, seen

        def keep_batch(step: Any) -> Any:
            self.steps.append(step)
            self.batches.append(rows(step))
            return self.batches[-1]

        trainer._gdro_generate, trainer._gdro_batch = keep_round, keep_batch


def row_of(batch: dict[str, Any], row: int) -> tuple[Any, ...]:
    """Tokens of a row's prompt and completion, and which of them the loss takes."""
    answer = batch["completion_mask"][row].bool()
    return (
        tuple(batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()),
        tuple(batch["completion_ids"][row][answer].tolist()),
        tuple(loss_mask(batch)[row][answer].tolist()),
    )


ROUNDS = ["dapo", "speed", "reinforce-ada", "random-rollouts"]
OFTEN = set(zip(["tools", "environment", "two environments", "rollout function"], ROUNDS, strict=True))


@pytest.mark.parametrize(("kind", "strategy"), agents.pairs(ROUNDS, OFTEN))
def test_rows_and_masks_belong_together(kind: str, strategy: str) -> None:
    """The loss takes whole rows of any round, and only the model's own tokens count."""
    trainer = make(kind, strategy=strategy, max_steps=4)
    spy = Spy(trainer)
    trainer.train()
    rounds, widths, answered = iter(spy.rounds), set(), 0
    for step, batch in zip(spy.steps, spy.batches, strict=True):
        generated, outcome = [], step.outcome
        while len(generated) < len(outcome.prompt_R):
            given = next(rounds)
            widths.add(given["completion_ids"].shape)
            generated += [row_of(given, row) for row in range(len(given["advantages"]))]
        assert outcome.tokens_R.tolist() == [sum(own) for _, _, own in generated]
        chosen_R = chosen_rows(step.weights.keep_R, 16)
        assert [row_of(batch, row) for row in range(16)] == [generated[r] for r in chosen_R]
        assert int(batch["num_items_in_batch"]) == sum(sum(generated[r][2]) for r in chosen_R)
        answered += sum(not all(own) for _, _, own in generated)
    assert next(rounds, None) is None
    assert len(widths) > 1 or kind != "tools", "rounds of different width"
    assert answered > 20, "tokens of the model alone"
    ledger = trainer.controller.ledger
    extends = trainer.controller.strategy.extends
    assert ledger.rollouts == ledger.planned and (ledger.rollouts > 64) == extends
    assert ledger.tokens == sum(int(loss_mask(r).sum()) for r in spy.rounds)
    assert trainer.controller.open_tickets == []


@pytest.mark.parametrize("kind", ALL)
def test_prompts_have_their_own_groups(kind: str) -> None:
    """Ragged groups: every row's tokens are of its prompt, and its advantage of its group."""
    trainer = make(kind, strategy="random-rollouts", max_steps=3)
    spy = Spy(trainer)
    trainer.train()
    sizes = set()
    prompts: dict[int, set[Any]] = {}
    for step, batch in zip(spy.steps, spy.batches, strict=True):
        outcome = step.outcome
        for row, prompt in enumerate(outcome.prompt_R.tolist()):
            prompts.setdefault(prompt, set()).add(row_of(batch, row)[0])
            group = outcome.reward_R[outcome.prompt_R == prompt]
            sizes.add(len(group))
            spread = group.std(ddof=1) if len(group) > 1 else 0.0
            want = (outcome.reward_R[row] - group.mean()) / (spread + 1e-4)
            assert batch["advantages"][row].item() == pytest.approx(want, abs=1e-4)
    assert len(sizes) > 1
    assert all(len(texts) == 1 for texts in prompts.values())


def test_the_loss_of_a_row_is_over_its_own_tokens() -> None:
    logps, old = torch.log(torch.tensor([[1.0, 3.0, 1.0, 9.0]])), torch.zeros(1, 4)
    batch = {
        "completion_mask": torch.tensor([[1, 1, 1, 0]]),
        "tool_mask": torch.tensor([[1, 0, 1, 1]]),
        "old_per_token_logps": old,
        ADVANTAGE: torch.tensor([2.0]),
    }
    assert surrogate(logps, batch, 0.2, None, 0.0).tolist() == [-2.0]
    assert turns(batch).tolist() == [2]
    assert turns({"completion_mask": torch.tensor([[1, 1, 0], [0, 0, 0]])}).tolist() == [1, 0]


@WITH_TOOLS
@pytest.mark.parametrize("strategy", ["rollout-gdro", "dapo"])
def test_every_rollout_has_an_environment_of_its_own_row(strategy: str) -> None:
    seen: list[int] = []

    class Seeded(Guess):
        def reset(self, seed: int, **_: Any) -> str:
            self.seed = seed
            return super().reset(seed)

    def checked(environments: Any, seed: list[int], completions: Any, **_: Any) -> list[float]:
        assert [e.seed for e in environments] == seed
        assert len({id(e) for e in environments}) == len(completions)
        said = [[int(m["content"]) for m in c if m["role"] == "user"] for c in completions]
        assert not any(said)
        for environment, completion in zip(environments, completions, strict=True):
            results = [m["content"] for m in completion if m["role"] == "tool"]
            secret = environment.secret
            signs = ["=" if g == secret else "+" if g < secret else "-" for g in environment.guesses]
            assert results == signs[: len(results)]
        seen.append(len(seed))
        return [0.0] * len(seed)

    trainer = make(
        "environment",
        environment_factory=Seeded,
        reward_funcs=[checked],
        correct="Seeded",
        strategy=strategy,
        max_steps=4,
    )
    trainer.train()
    assert trainer.controller.problem.num_prompts == 24
    assert sum(seen) == trainer.controller.ledger.rollouts
    assert (sum(seen) > 64) == (strategy == "dapo")


@WITH_TOOLS
def test_rewards_of_several_environments_are_judged_each() -> None:
    trainer = make(
        "two environments", correct=["Guess", ("Parity", 0.9)], strategy="rollout-gdro", max_steps=4
    )
    spy = Spy(trainer)
    trainer.train()
    right = {"guess": [], "parity": []}
    for step in spy.steps:
        rows = [trainer._pool.row_N[p] for p in step.outcome.prompt_R]
        names = trainer.train_dataset[rows]["environment"]
        for row, name in enumerate(names):
            column = {"guess": 0, "parity": 1}[name]
            reward = float(step.rewards_RK[row, column])
            assert np.isnan(float(step.rewards_RK[row, 1 - column]))
            right[name].append(reward > (0.5, 0.9)[column])
            assert step.outcome.correct_R[row] == right[name][-1]
        assert step.outcome.judged_mask_R.all()
    assert all(0 < sum(values) < len(values) for values in right.values())


@WITH_TOOLS
def test_a_function_in_correct_gets_the_environments() -> None:
    def found(environments: Any, completions: Any, **_: Any) -> list[bool]:
        assert len(environments) == len(completions)
        return [e.secret in e.guesses for e in environments]

    trainer = make("environment", correct=found, strategy="rollout-gdro", max_steps=2)
    spy = Spy(trainer)
    trainer.train()
    for step in spy.steps:
        assert step.outcome.correct_R.tolist() == (step.rewards_RK[:, 0] > 0).tolist()
    assert trainer._gdro_judging.judge.text == "what found() says" and len(spy.steps) == 2


def test_fields_of_a_rollout_function_reach_the_judge() -> None:
    def many(digits: list[int], **_: Any) -> list[bool]:
        return [d > 2 for d in digits]

    trainer = make("rollout function", correct=many, strategy="dapo", max_steps=2)
    trainer.train()
    assert trainer._gdro_judging.judge.text == "what many() says"
    assert trainer.controller.ledger.closed == 2


def test_a_field_of_a_rollout_function_counts_as_a_column() -> None:
    """The function that reads the field judges, not the one that reads nothing."""
    trainer = make("rollout function", reward_funcs=[tiny.length, agents.digits], strategy="uniform")
    assert trainer._gdro_judging.judge.text.startswith("reward 'digits', which reads 'parity', 'digits'")


@pytest.mark.parametrize("strategy", ["uniform", "dapo"])
def test_rows_stay_as_they_were_whatever_a_rollout_function_writes(strategy: str) -> None:
    """Its field `answer` has the name of a column, which the key of a row is made of."""
    answers: list[str] = []

    def offered(prompts: list[str], trainer: Any) -> dict[str, Any]:
        return agents.rollouts(prompts, trainer)

    def right(digits: list[int], parity: list[str], answer: list[str], **_: Any) -> list[float]:
        answers.extend(answer)
        return agents.digits(digits, parity)

    trainer = make(
        "rollout function",
        rollout_func=offered,
        reward_funcs=[right],
        strategy=strategy,
        log_completions=True,
        max_steps=3,
    )
    trainer.train()
    assert {a[-1] for a in answers} == {"!"}
    folder = trainer.controller.log.directory
    keys = {line["key"] for line in read_jsonl(folder / PROMPTS)}
    logged = {line["key"] for line in read_jsonl(folder / COMPLETIONS)}
    assert logged and logged <= keys
    assert all(row["answer"].isdigit() for row in trainer.train_dataset)


@WITH_TOOLS
def test_the_log_names_rows_without_a_prompt() -> None:
    trainer = make("two environments", strategy="rollout-gdro", log_completions=True, max_steps=2)
    trainer.train()
    folder = trainer.controller.log.directory
    texts = {line["text"] for line in read_jsonl(folder / PROMPTS)}
    names = ["parity", "guess"]
    assert texts <= {f"seed={i}, environment={names[i % 2]}" for i in range(24)} and len(texts) == 8
    assert len(set(trainer.controller.problem.prompt_keys)) == 24


@pytest.mark.parametrize("kind", ALL)
def test_the_number_of_turns_is_logged(kind: str) -> None:
    trainer = make(kind, strategy="dapo", max_steps=2)
    spy = Spy(trainer)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "gdro/turns" in line]
    steps = list(read_jsonl(trainer.controller.log.directory / "steps.jsonl"))
    assert [line["gdro/turns"] for line in lines] == [step["turns"] for step in steps]
    start = 0
    for step, record in zip(spy.steps, steps, strict=True):
        count, rows = [], 0
        while rows < len(step.outcome.prompt_R):
            masks = loss_mask(spy.rounds[start]).tolist()
            texts = ["".join(map(str, mask)).strip("0") for mask in masks]
            count += [len([part for part in text.split("0") if part]) for text in texts]
            rows, start = rows + len(masks), start + 1
        assert record["turns"] == pytest.approx(np.mean(count)) and record["turns"] > 1.2


def test_without_tools_no_turns_are_logged() -> None:
    trainer = agents.GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(max_steps=1),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy="uniform",
    )
    trainer.train()
    assert not any("gdro/turns" in line for line in trainer.state.log_history)


@WITH_TOOLS
def test_a_model_learns_to_call() -> None:
    """It was taught a little, and calls in a fifth of its rollouts; a call that works is rewarded."""
    trainer = make(
        "tools",
        model=agents.model("sum", 40),
        reward_funcs=[agents.calls],
        strategy="rollout-gdro",
        num_generations=8,
        per_device_train_batch_size=64,
        max_steps=20,
        learning_rate=6e-3,
        lr_scheduler_type="constant",
    )
    trainer.train()
    calls = [h["tools/call_frequency"] for h in trainer.state.log_history if "reward" in h]
    assert np.mean(calls[:3]) < 0.4 and np.mean(calls[-3:]) > 0.65


@WITH_TOOLS
def test_evaluation_with_environments() -> None:
    trainer = make(
        "environment",
        strategy="rollout-gdro",
        eval_dataset=agents.seeds(8),
        num_generations_eval=2,
        per_device_eval_batch_size=4,
        eval_strategy="steps",
        eval_steps=1,
        max_steps=2,
    )
    trainer.train()
    rates = [h["eval_gdro/pass_rate"] for h in trainer.state.log_history if "eval_loss" in h]
    rewards = [h["eval_rewards/Guess/mean"] for h in trainer.state.log_history if "eval_loss" in h]
    assert rates == pytest.approx(rewards) and len(rates) == 2


def broken(change: Any) -> Any:
    def function(prompts: list[Any], trainer: Any) -> Any:
        return change(agents.rollouts(prompts, trainer))

    return function


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda o: None, "a NoneType"),
        (lambda o: {k: v for k, v in o.items() if k != "logprobs"}, "no logprobs"),
        (lambda o: o | {"completion_ids": o["completion_ids"][::4]}, "4 completion_ids for 16 prompts"),
        (lambda o: o | {"prompt_ids": o["prompt_ids"] * 2}, "32 prompt_ids for 16 prompts"),
        (lambda o: o | {"digits": o["digits"][:3]}, "3 values of 'digits' for 16 prompts"),
        (lambda o: o | {"completion_ids": [[], *o["completion_ids"][1:]]}, "no tokens in completion 0"),
        (
            lambda o: o | {"env_mask": [*o["env_mask"][:-1], [1]]},
            r"an env_mask of 1 for the \d+ tokens of completion 15",
        ),
        (lambda o: o | {"completion_ids": None}, "None for completion_ids"),
        (lambda o: o | {"prompt_ids": None}, "None for prompt_ids"),
        (
            lambda o: o | {"env_mask": [None] * 16},
            r"an env_mask of None for the \d+ tokens of completion 0",
        ),
        (
            lambda o: o | {"env_mask": [[2] * len(m) for m in o["env_mask"]]},
            "an env_mask with values other than 0 and 1 for completion 0",
        ),
        (
            lambda o: o | {"logprobs": [p[:1] for p in o["logprobs"]]},
            r"logprobs of 1 for the \d+ tokens of completion 0",
        ),
    ],
)
def test_a_wrong_answer_of_a_rollout_function_is_an_error(change: Any, what: str) -> None:
    trainer = make("rollout function", rollout_func=broken(change), strategy="uniform")
    with pytest.raises(OutcomeError, match=rf"rollout_func=function returned {what}; .*prompts\[::n\]"):
        trainer.train()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"environment_factory": Guess()}, "environment_factory has a Guess, .*pass the class"),
        ({"environment_factory": {"a": Guess, "b": Guess()}}, "environment_factory has a Guess, "),
        ({"rollout_func": "rollouts"}, r"rollout_func has a str, .*function of \(prompts, trainer\)"),
    ],
)
def test_what_cannot_be_called_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        make("rollout function", **({"rollout_func": None} | given))


@pytest.mark.parametrize("strategy", ["uniform", "dapo"])
def test_a_rollout_function_may_leave_out_the_mask(strategy: str) -> None:
    """Also in some rounds alone: its rows then count whole."""
    times = iter(range(1000))

    def function(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        output = agents.rollouts(prompts, trainer)
        return output | {"env_mask": None} if next(times) % 2 else output

    trainer = make("rollout function", rollout_func=function, strategy=strategy, max_steps=4)
    spy = Spy(trainer)
    trainer.train()
    own = [bool((r["tool_mask"] == 1).all()) for r in spy.rounds]
    assert own == [bool(i % 2) for i in range(len(own))]
    for batch in spy.batches:
        assert int(batch["num_items_in_batch"]) == int(loss_mask(batch).sum())


def test_rounds_with_other_tensors_are_refused() -> None:
    times = iter(range(1000))

    def function(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        output = agents.rollouts(prompts, trainer)
        return output | {"logprobs": None} if next(times) else output

    trainer = make("rollout function", rollout_func=function, strategy="dapo", max_steps=4)
    with pytest.raises(
        UnsupportedError, match=r"some rounds .* sampling_per_token_logps and others not"
    ):
        trainer.train()


@WITH_TOOLS
def test_an_environment_without_a_dataset_is_refused_with_the_fix() -> None:
    with pytest.raises(UnsupportedError, match=r"train_dataset=Dataset.from_dict\(\{'seed'"):
        make("environment", train_dataset=None, strategy="uniform")
    with pytest.raises(ProblemError, match="no column 'prompt'; it has seed"):
        make("tools", train_dataset=agents.seeds(), strategy="uniform")


@pytest.mark.parametrize("kind", ALL)
def test_static_generation_is_refused(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=r"generation='static' cannot be combined with .*leave"):
        make(kind, generation="static", strategy="uniform")


@WITH_TOOLS
def test_equal_rows_of_an_environment_are_told() -> None:
    """A dataset that only routes: one prompt an environment, unless a column tells rows apart."""
    rows = agents.seeds(24, environment=["guess"] * 24).remove_columns("seed")
    with pytest.raises(ProblemError, match=r"exact copies, 24 of one row.*id_column='id'"):
        make("two environments", train_dataset=rows, strategy="rollout-gdro")


@WITH_TOOLS
@pytest.mark.parametrize("kind", ["tools", "environment"])
def test_a_resumed_run_is_the_same(kind: str, tmp_path: Any) -> None:
    given = {"strategy": "rollout-gdro + memory(anchor_rate=0.1)", "max_steps": 6}
    whole = make(kind, output_dir=str(tmp_path), save_strategy="steps", save_steps=3, **given)
    whole.train()
    resumed = make(kind, output_dir=str(tmp_path), **given)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert torch.equal(tiny.weights(whole), tiny.weights(resumed))
    assert whole.controller.digest() == resumed.controller.digest()


@pytest.mark.parametrize("kind", ALL)
def test_truncated_answers_count_as_they_were_generated(kind: str) -> None:
    """The loss leaves them out; generating them took their tokens, which token-gdro plans with."""
    trainer = make(kind, strategy="token-gdro", mask_truncated_completions=True, max_steps=4)
    generate, spy, written = trainer._generate_single_turn, Spy(trainer), 0

    def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal written
        answers = generate(*args, **kwargs)
        written += sum(map(len, answers[0]))
        return answers

    trainer._generate_single_turn = count
    trainer.train()
    masked = sum(int((loss_mask(r).sum(dim=1) == 0).sum()) for r in spy.rounds)
    assert masked > 0, "truncated rows"
    tokens = sum(int(step.outcome.tokens_R.sum()) for step in spy.steps)
    assert all(step.outcome.tokens_R.min() > 0 for step in spy.steps)
    assert trainer.controller.ledger.tokens == tokens
    # A loop of tools cuts what is written beyond the longest completion.
    assert tokens == written if kind == "rollout function" else 0.6 * written < tokens <= written
