"""GDROConfig: arguments from code, a command line and YAML, and what wins where they meet."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from trl import GRPOConfig, TrlParser

from gdro import Difficulty, GdroError, make_strategy
from gdro.integrations.trl import GDROConfig, GDROMixin, GDROTrainer
from gdro.integrations.trl.config import OWN, settled

BASE = {
    "per_device_train_batch_size": 16,
    "num_generations": 4,
    "max_completion_length": 4,
    "max_steps": 2,
    "report_to": "none",
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
    "gradient_checkpointing": False,
}


def make(config: GRPOConfig, **given: Any) -> GDROTrainer:
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=[tiny.lucky, tiny.length],
        args=config,
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        **given,
    )


def test_every_argument_of_the_trainer_is_a_field() -> None:
    """A new argument of GDROMixin goes to GDROConfig and to `settled` in its constructor too."""
    parameters = inspect.signature(GDROMixin.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"controller"}
    assert named == set(OWN)


@pytest.mark.parametrize("source", ["yaml", "command line", "both"])
def test_a_script_that_parses_its_arguments(source: str, tmp_path: Path) -> None:
    said = {
        "strategy": "rollout-gdro",
        "strategy_options": {"n_max": 7},
        "difficulty": {"k": 4},
        "id_column": "id",
        "correct": ["lucky", 0.4],
        "prompt_equal": True,
        "gdro_log": "full",
    }
    common = BASE | {"output_dir": str(tmp_path / "out")}
    line = [
        "--strategy",
        "rollout-gdro",
        "--strategy_options",
        '{"n_max": 7}',
        "--difficulty",
        '{"k": 4}',
        "--id_column",
        "id",
        "--correct",
        "lucky",
        "0.4",
        "--prompt_equal",
        "--gdro_log",
        "full",
    ]
    content, words = {
        "yaml": (common | said, []),
        "command line": (common, line),
        "both": (common | said | {"strategy": "uniform", "strategy_options": None}, line[:4]),
    }[source]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    parser = TrlParser((GDROConfig,))
    (config,) = parser.parse_args_and_config(["--config", str(tmp_path / "config.yaml"), *words])
    assert {name: getattr(config, name) for name in said} == said
    trainer = make(config)
    trainer.train()
    strategy = trainer.controller.strategy
    assert strategy == make_strategy("rollout-gdro", n_max=7)
    assert trainer.controller.difficulty == Difficulty(k=4)
    judge = trainer._gdro_judging.judge
    assert (judge.columns, judge.thresholds) == ((0,), (0.4,))
    assert trainer.prompt_equal and trainer.controller.apply


def test_a_config_without_our_fields_is_grpos(tmp_path: Path) -> None:
    ours, theirs = GDROConfig(str(tmp_path), **BASE), GRPOConfig(str(tmp_path), **BASE)
    mine = ours.to_dict()
    assert {name: mine.pop(name) for name in OWN} == {
        "strategy": None,
        "strategy_options": None,
        "difficulty": None,
        "apply": True,
        "id_column": None,
        "prior_column": None,
        "correct": None,
        "process": None,
        "prompt_equal": False,
        "memory_bytes": 2**28,
        "memory_episodes": True,
        "gdro_log": "brief",
        "resume_keys": "exact",
        "generation": "trl",
    }
    assert mine == theirs.to_dict()
    trainers = [make(config, correct="lucky") for config in (ours, theirs)]
    first, second = (t.controller for t in trainers)
    assert (first.strategy, first.difficulty) == (second.strategy, second.difficulty)


def test_it_is_written_as_json(tmp_path: Path) -> None:
    config = GDROConfig(
        str(tmp_path),
        strategy="mopps + memory",
        correct=("lucky", 0.5),
        difficulty=Difficulty(k=2),
        **BASE,
    )
    written = json.loads(config.to_json_string())
    assert written["strategy"] == "mopps + memory"
    assert written["correct"] == ["lucky", 0.5]
    assert written["difficulty"]["k"] == 2
    assert make(config).controller.difficulty == Difficulty(k=2)


def test_an_argument_fills_what_the_config_leaves_open(tmp_path: Path) -> None:
    config = GDROConfig(str(tmp_path), correct=["lucky"], strategy="uniform", **BASE)
    trainer = make(config, apply=False, strategy="uniform", correct="lucky")
    assert not trainer.controller.apply
    with pytest.raises(
        GdroError, match=r"strategy was given twice: 'hora' .* 'uniform' in its GDROConfig"
    ):
        make(config, strategy="hora")
    shadow = GDROConfig(str(tmp_path), apply=False, correct="lucky", strategy="uniform", **BASE)
    assert not make(shadow).controller.apply
    with pytest.raises(GdroError, match=r"apply was given twice: True .* False"):
        make(shadow, apply=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategy": make_strategy("uniform")}, "a config holds names; pass the object to the trainer"),
        ({"difficulty": {"kk": 4}}, "GDROConfig.difficulty has no option 'kk'; did you mean 'k'"),
        ({"difficulty": {"k": 0}}, "difficulty option k is 0"),
        ({"difficulty": "k=4"}, "difficulty is 'k=4'; allowed: options"),
        ({"gdro_log": "loud"}, "gdro_log is 'loud'"),
        ({"correct": tiny.lucky}, "GDROConfig.correct is the function 'lucky'.*pass it to the trainer"),
        ({"strategy": ["mopps", 3]}, "a part of a composition is 3; pass a name"),
    ],
)
def test_a_wrong_field_is_named_with_the_fix(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(GdroError, match=words):
        GDROConfig(str(tmp_path), **BASE | given)


def test_parts_of_a_strategy_from_yaml_are_a_composition(tmp_path: Path) -> None:
    parts = ["mopps", {"name": "rollout-gdro", "n_max": 8}]
    config = GDROConfig(str(tmp_path), **BASE | {"strategy": parts})
    assert config.strategy == "mopps + rollout-gdro(n_max=8)"


@pytest.mark.parametrize(
    ("written", "held", "taken"),
    [
        ("lucky", "lucky", "lucky"),
        (["lucky"], "lucky", "lucky"),
        (["lucky", "0.4"], ["lucky", 0.4], ("lucky", 0.4)),
        (["lucky", "length"], ["lucky", "length"], ["lucky", "length"]),
        ([["lucky", 1], "length"], [["lucky", 1.0], "length"], [("lucky", 1.0), "length"]),
    ],
)
def test_what_is_right_from_lists_and_texts(written: Any, held: Any, taken: Any, tmp_path: Path) -> None:
    config = GDROConfig(str(tmp_path), correct=written, **BASE)
    assert config.correct == held
    assert settled(config).correct == taken
