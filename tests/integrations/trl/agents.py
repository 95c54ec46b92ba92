"""A tiny model that calls tools, a calculator, two games of several turns, and a rollout function."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import pytest
import tiny
import torch
import transformers
from datasets import Dataset
from packaging.version import Version
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOTrainer

from gdro.integrations.trl import GDROTrainer

ALPHABET = tiny.ALPHABET + "[](){}>?-"
OLD = Version(transformers.__version__) < Version("5.13.0")
WITH_TOOLS = pytest.mark.skipif(OLD, reason="these transformers parse no calls by a template")
# A turn is `>TEXT$`, a call in it `[3+4]` or `[5]`, and what a tool says `(7)`.
TEMPLATE = """{% for m in messages %}{% if m.role == 'tool' %}({{ m.content }})\
{% elif m.role == 'assistant' %}>{{ m.content }}{% for c in m.tool_calls or [] %}\
[{{ c.function.name }}{{ c.function.arguments }}]{% endfor %}$\
{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}>{% endif %}"""
ADD = r"\[(?P<a>\d)\+(?P<b>\d)", {"name": "add", "arguments": {"a": "{a}", "b": "{b}"}}
GUESS = r"\[(?P<digit>\d)", {"name": "guess", "arguments": {"digit": "{digit}"}}


def tokenizer(call: tuple[str, dict[str, Any]] = ADD) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({c: i for i, c in enumerate(ALPHABET)}, unk_token="_"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="_",
        eos_token="$",
        unk_token="_",
        padding_side="left",
        chat_template=TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
    )
    pattern, function = call
    fields = {
        "tool_calls": {
            "open_pattern": pattern,
            "close": "]",
            "repeats": True,
            "content": "text",
            "transform": {"type": "function", "function": function},
        },
        "content": {"close_pattern": r"\$|$", "content": "text"},
    }
    made.response_template = {
        "defaults": {"role": "assistant"},
        "start_anchor": ">",
        "fields": fields,
    }
    return made


def untaught() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(ALPHABET),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


@cache
def _taught(lesson: str, steps: int) -> dict[str, torch.Tensor]:
    """Weights after some steps on texts; what stands after the last `>` is learnt."""
    model, encode, rng = untaught().train(), tokenizer(), random.Random(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        texts = [LESSONS[lesson](rng) for _ in range(32)]
        rows = [encode(text)["input_ids"] for text in texts]
        ids = torch.tensor([row + [0] * (32 - len(row)) for row in rows])
        labels = ids.clone()
        for label, text in zip(labels, texts, strict=True):
            label[: text.rindex(">") + 1], label[len(text) :] = -100, -100
        loss = model(ids, attention_mask=(ids > 0).long(), labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.state_dict()


def _sum(rng: random.Random) -> str:
    """A sum: the call first, or the answer after it."""
    a, b = rng.randint(0, 4), rng.randint(0, 4)
    call = f"{a}+{b}>[{a}+{b}]$"
    return call if rng.random() < 0.5 else f"{call}({a + b})>{a + b}$"


def _game(rng: random.Random) -> str:
    """Guesses in any order, and the end after `(=)`."""
    turns = rng.randint(0, 2)
    text = "?" + "".join(f">[{rng.randint(0, 9)}]$({rng.choice('+-')})" for _ in range(turns))
    return f"{text}>[{rng.randint(0, 9)}]$" if rng.random() < 0.8 else f"{text}>[3]$(=)>=$"


LESSONS = {"sum": _sum, "game": _game}


def model(lesson: str = "sum", steps: int = 60) -> Qwen3ForCausalLM:
    """A model that was taught to call in most of its turns."""
    made = untaught()
    made.load_state_dict(_taught(lesson, steps))
    return made


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The first number.
        b: The second number.

    Returns:
        Their sum.
    """
    return int(a) + int(b)  # older versions parse arguments as texts


async def add_later(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The first number.
        b: The second number.

    Returns:
        Their sum.
    """
    return int(a) + int(b)  # older versions parse arguments as texts


add_later.__name__ = "add"


def sums(num: int = 24) -> Dataset:
    pairs = [(i % 5, i // 5) for i in range(num)]
    return Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": f"{a}+{b}"}] for a, b in pairs],
            "answer": [str(a + b) for a, b in pairs],
            "id": [f"p{i}" for i in range(num)],
            "difficulty": [float(i) for i in range(num)],
        }
    )


def final(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Right when the last turn is the answer."""
    return [float(c[-1]["content"] == a) for c, a in zip(completions, answer, strict=True)]


def calls(completions: list[Any], **_: Any) -> list[float]:
    """Number of results of tools."""
    return [float(sum(m["role"] == "tool" for m in c)) for c in completions]


class Guess:
    """A number to find, drawn from the row's seed; a guess says in which direction it lies."""

    largest_guess = 9

    def reset(self, seed: int, **_: Any) -> str:
        self.secret = random.Random(seed).randint(0, self.largest_guess)
        self.guesses: list[int] = []
        return "?"

    def guess(self, digit: int) -> str:
        """Compares a guess with the secret number.

        Args:
            digit: The guess.

        Returns:
            `=`, or `+` and `-` where the number is larger or smaller.
        """
        digit = int(digit)
        self.guesses.append(digit)
        return "=" if digit == self.secret else "+" if digit < self.secret else "-"

    def get_reward(self) -> float:
        return float(self.secret in self.guesses)


class Parity(Guess):
    """A game in which each guess of the number's parity gives half a point."""

    largest_guess = 4

    def get_reward(self) -> float:
        return 0.5 * sum(g % 2 == self.secret % 2 for g in self.guesses)


def seeds(num: int = 24, **columns: Any) -> Dataset:
    """Rows without prompts."""
    return Dataset.from_dict({"seed": list(range(num)), **columns})


def two_games(num: int = 24) -> Dataset:
    return seeds(num, environment=["guess" if i % 2 else "parity" for i in range(num)])


def rollouts(prompts: list[Any], trainer: Any) -> dict[str, Any]:
    """Two turns for each prompt; what is said between them is not the model's, nor is the reward."""
    encode = trainer.processing_class
    prompt_ids = [encode(p)["input_ids"] for p in prompts]
    turn = trainer._generate_single_turn
    own = (
        [1]
        if "num_generations" in inspect.signature(GRPOTrainer._generate_single_turn).parameters
        else []
    )
    first, _ = turn(prompt_ids, None, {}, *own)
    said = [encode("(7)>")["input_ids"]] * len(prompts)
    longer = [p + f + s for p, f, s in zip(prompt_ids, first, said, strict=True)]
    second, _ = turn(longer, None, {}, *own)
    parts = list(zip(first, said, second, strict=True))
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": [f + s + t for f, s, t in parts],
        "logprobs": [[0.0] * len(f + s + t) for f, s, t in parts],
        "env_mask": [[1] * len(f) + [0] * len(s) + [1] * len(t) for f, s, t in parts],
        "digits": [sum(id in range(2, 12) for id in f + t) for f, _, t in parts],
        "answer": [f"{p}!" for p in prompts],  # a field that has the name of a column
    }


def digits(digits: list[int], parity: list[str], **_: Any) -> list[float]:
    """Right if the model's own digits are as many as the row's parity says, three or four."""
    return [float(d == 3 + (p == "even")) for d, p in zip(digits, parity, strict=True)]


KINDS: dict[str, dict[str, Any]] = {
    "tools": {
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": sums,
        "reward_funcs": [final],
        "tools": [add],
        "max_completion_length": 16,
    },
    "environment": {
        "model": lambda: model("game"),
        "processing_class": lambda: tokenizer(GUESS),
        "train_dataset": seeds,
        "reward_funcs": None,
        "environment_factory": Guess,
        "max_completion_length": 24,
    },
    "two environments": {
        "model": lambda: model("game"),
        "processing_class": lambda: tokenizer(GUESS),
        "train_dataset": two_games,
        "reward_funcs": None,
        "environment_factory": {"guess": Guess, "parity": Parity},
        "max_completion_length": 24,
    },
    "rollout function": {
        "model": tiny.model,
        "processing_class": tiny.tokenizer,  # of which `(7)>` are unknown tokens
        "train_dataset": tiny.dataset,
        "reward_funcs": [digits],
        "rollout_func": rollouts,
    },
}


def pairs(values: Sequence[Any], often: Collection[tuple[str, Any]]) -> list[Any]:
    """Cases of every kind with every value; those not in `often` run weekly."""
    cases: list[Any] = []
    for kind in sorted(KINDS):
        needs = () if kind == "rollout function" else (WITH_TOOLS,)
        for value in values:
            weekly = () if (kind, value) in often else (pytest.mark.weekly,)
            cases.append(pytest.param(kind, value, marks=(*needs, *weekly)))
    return cases


def make(kind: str, cls: type = GDROTrainer, **options: Any) -> Any:
    """A trainer of one kind; options that are no arguments of a trainer are the config's."""
    given = dict(KINDS[kind])
    names = {
        "strategy",
        "correct",
        "apply",
        "id_column",
        "memory_episodes",
        "memory_bytes",
        "difficulty",
    }
    names |= {"environment_factory", "generation", "process", "prompt_equal", "eval_dataset", *given} - {
        "max_completion_length"
    }
    arguments = given | {name: options.pop(name) for name in list(options) if name in names}
    length = arguments.pop("max_completion_length", 4)
    rewards = arguments["reward_funcs"]  # TRL appends an environment's own to the list
    arguments["reward_funcs"] = rewards and [*rewards]
    for name in ("model", "processing_class", "train_dataset"):
        if callable(arguments[name]) and not isinstance(arguments[name], torch.nn.Module):
            made = arguments[name]
            arguments[name] = made if hasattr(made, "encode") else made()
    config = {"max_completion_length": length, "learning_rate": 2e-3}
    return cls(args=tiny.config(**(config | options)), **arguments)


def texts(trainer: Any, batch: dict[str, Any], mask: torch.Tensor) -> list[str]:
    """Text of the completion tokens that a mask takes, of each row."""
    decode = trainer._tokenizer.decode
    rows = zip(batch["completion_ids"], mask.bool(), strict=True)
    return [re.sub(r"[_ ]", "", decode(ids[m])) for ids, m in rows]
