"""`gdro eval`: a model on sets of problems or a recipe's prompts, and two models compared."""

from __future__ import annotations

import argparse
import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gdro.common.files import check_folder
from gdro.common.redact import shown
from gdro.errors import GdroError

_EPILOG = """\
examples:
  gdro eval --model Qwen/Qwen3-1.7B-Base --data math-500 --data aime-2024 --style plain
  gdro eval --model runs/mine --data math-500=math500.jsonl --samples 16 --k 1 --k 8 --limit 100
  gdro eval --model runs/mine --data gsm8k --base runs/eval/base            slices of base difficulty
  gdro eval compare runs/eval/base runs/eval/mine --k 8                     paired, problem by problem
  gdro eval table runs/eval/grpo runs/eval/prompt runs/eval/rollout --k 8   the paper's Table 1
  gdro eval --model Qwen/Qwen3-8B --data aime-2024 --server http://localhost:8000/v1
  gdro eval --recipe quickstart --model runs/quickstart/grpo/model          a recipe's held-out prompts
  gdro eval --recipe smollm2_math                                           its base model, by difficulty

The same command goes on after a kill, with the same samples."""

_OF_SETS = (
    "backend",
    "server",
    "samples",
    "k",
    "limit",
    "max_new_tokens",
    "temperature",
    "top_p",
    "batch_size",
    "seed",
    "style",
    "instruction",
    "base",
)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    evaluate = commands.add_parser(
        "eval",
        help="evaluate a model: mean@k, unbiased pass@k, majority votes; compare two",
        description="Sample every problem several times, judge the samples, and write samples.jsonl, "
        "eval.json and eval.md: mean@S, majority vote, unbiased pass@k with intervals, by set, source, "
        "level and base difficulty.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument(
        "--model",
        help="folder that save_pretrained wrote, a name on the hub, or the server's name for it",
    )
    evaluate.add_argument(
        "--backend", choices=("transformers", "vllm"), help="what generates (default: transformers)"
    )
    evaluate.add_argument(
        "--server",
        metavar="URL",
        help="generate by a server that speaks OpenAI's protocol, e.g. http://localhost:8000/v1; "
        "its key is OPENAI_API_KEY",
    )
    evaluate.add_argument(
        "--data", action="append", metavar="SET[=FILE]", help="as for gdro data; repeat for more sets"
    )
    evaluate.add_argument("--recipe", help="evaluate on this recipe's held-out prompts instead")
    evaluate.add_argument("--samples", type=int, default=8, help="completions a problem (%(default)s)")
    evaluate.add_argument(
        "--k", type=int, action="append", help="of pass@k, repeatable (1 and --samples)"
    )
    evaluate.add_argument("--limit", type=int, help="only the first so many problems of each set")
    evaluate.add_argument(
        "--max-new-tokens", type=int, default=1024, help="longest completion (%(default)s)"
    )
    evaluate.add_argument(
        "--temperature", type=float, default=1.0, help="of the sampling, above 0 (%(default)s)"
    )
    evaluate.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        help="sample from the likeliest tokens of this mass, 1 is all (%(default)s)",
    )
    evaluate.add_argument("--batch-size", type=int, default=64, help="completions at once (%(default)s)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the sampling (%(default)s)")
    evaluate.add_argument(
        "--style",
        choices=("chat", "plain"),
        default="chat",
        help="by the chat template, or the text alone, as for base models (%(default)s)",
    )
    evaluate.add_argument("--instruction", help="text below each problem (default: to box the answer)")
    evaluate.add_argument(
        "--base",
        type=Path,
        metavar="DIR",
        help="evaluation of the base model, for slices by its difficulty",
    )
    evaluate.add_argument("--output", type=Path, help="folder (default: runs/eval/<model>)")
    evaluate.add_argument(
        "rest", nargs="*", metavar="compare A B | table A B ... | key=value", help="see the examples"
    )
    evaluate.set_defaults(run=partial(_eval, evaluate))


def _eval(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if arguments.rest[:1] == ["compare"]:
        return _compare(arguments)
    if arguments.rest[:1] == ["table"]:
        return _table(arguments)
    check_folder(arguments.output or Path("runs/eval"), "--output")
    if arguments.data is None:
        if arguments.recipe is None:
            raise GdroError(
                "gdro eval needs problems: --data SET (gsm8k, mine.jsonl, ...) with --model, or "
                "--recipe NAME for a recipe's held-out prompts (quickstart, mine.yaml, ...); or: gdro "
                "eval compare A B"
            )
        for name in _OF_SETS:
            if getattr(arguments, name) != parser.get_default(name):
                raise GdroError(
                    f"--{name.replace('_', '-')} is for --data; a recipe has its own keys, e.g. "
                    "evaluation.samples=16 evaluation.k=8 trl.temperature=0.6"
                )
        return _recipe(arguments)
    if arguments.recipe is not None:
        raise GdroError("--data and --recipe were both given; --recipe brings its own prompts")
    if arguments.model is None:
        raise GdroError("gdro eval --data needs --model: a folder, a name on the hub, or a server's")
    if not arguments.model:
        raise GdroError("--model is empty; pass a folder, a name on the hub, or a server's")
    _check_generator(arguments)
    return _sets(arguments)


def _sets(arguments: argparse.Namespace) -> int:
    from gdro.common.files import write_json, write_text
    from gdro.common.progress import bar
    from gdro.data.prompts import BOXED
    from gdro.evaluation import Options, evaluate, markdown, read_records, scores
    from gdro.evaluation.table import details

    options = Options(
        samples=arguments.samples,
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        style=arguments.style,
        instruction=BOXED if arguments.instruction is None else arguments.instruction,
    )
    options.check()
    ks = sorted(set(arguments.k or [1, options.samples]))
    if ks[0] < 1 or ks[-1] > options.samples:
        raise GdroError(
            f"--k is {ks[0] if ks[0] < 1 else ks[-1]}; it must be at least 1 and at most --samples, "
            f"{options.samples}"
        )
    if arguments.rest:
        raise GdroError(
            f"{arguments.rest[0]!r} cannot be combined with --data; key=value is for --recipe"
        )
    sets: dict[str, Any] = {}
    for spec in arguments.data:
        name, table = _set(spec, options, arguments.limit)
        if name in sets:
            raise GdroError(f"two sets are called {name!r}; rename a file, or evaluate them one by one")
        sets[name] = table
    base = None
    if arguments.base is not None:
        records = read_records(arguments.base)
        base = {(r.set, r.prompt_id): sum(r.right) / len(r.right) for r in records}
    folder = arguments.output or folder_of(arguments.model)
    generator = _generator(arguments)
    records = evaluate(generator, sets, folder, options, lambda chunks: bar(chunks, desc="evaluating"))
    again = getattr(generator, "again", None)
    if again:
        why = ", ".join(f"{count} {kind}" for kind, count in again.most_common())
        print(f"requests made again: {again.total()} ({why})")
    found = scores(records, ks, base)
    text = f"{markdown({arguments.model: found}, max(ks))}\n{details(found, ks)}"
    write_json(folder / "eval.json", found)
    write_text(folder / "eval.md", text)
    print(f"{text}\nfolder: {folder}")
    return 0


def folder_of(model: str) -> Path:
    """Where an evaluation of a model is kept, in a folder of its own."""
    name = model.rstrip("/").replace("/", "--")
    near = name in ("", ".", "..")  # a folder by its place, not by its name
    return Path("runs/eval") / ((Path(model).resolve().name or "root") if near else name)


def _check_generator(arguments: argparse.Namespace) -> None:
    """Raise before any data is loaded if what generates cannot."""
    if arguments.server is not None:
        if arguments.backend is not None:
            raise GdroError("--server and --backend were both given; the server has its own backend")
        if not re.fullmatch(r"https?://[^/\s]\S*", arguments.server):
            raise GdroError(
                f"--server is {shown(arguments.server)!r}; it must be a URL, e.g. "
                "http://localhost:8000/v1"
            )
    elif arguments.backend == "vllm" and find_spec("vllm") is None:
        raise GdroError("vLLM is not installed; pip install vllm, or leave out --backend vllm")


def _generator(arguments: argparse.Namespace) -> Any:
    if arguments.server is not None:
        from gdro.evaluation.server import ServerGenerator

        return ServerGenerator(arguments.server, arguments.model)
    if arguments.backend == "vllm":
        from gdro.evaluation.vllm import VllmGenerator

        return VllmGenerator(arguments.model)
    from gdro.evaluation.transformers import TransformersGenerator

    return TransformersGenerator.load(arguments.model, style=arguments.style)


def _set(spec: str, options: Any, limit: int | None) -> tuple[str, Any]:
    from gdro.data import load, prompts

    name, _, file = (spec, "", "") if spec.startswith("reasoning-gym:") else spec.partition("=")
    table = load(name, Path(file) if file else None)
    if limit is not None:
        if limit < 1:
            raise GdroError(f"--limit is {limit}; it must be at least 1")
        table = table.select(range(min(limit, len(table))))
    return table["source"][0], prompts(table, options.style, options.instruction)


def _compare(arguments: argparse.Namespace) -> int:
    from gdro.evaluation import compare, comparison_table, read_records

    folders = [Path(name) for name in arguments.rest[1:]]
    if len(folders) != 2:
        raise GdroError(f"gdro eval compare needs two folders, got {len(folders)}")
    first, second = map(read_records, folders)
    print(comparison_table(compare(first, second, max(arguments.k or [arguments.samples]))))
    return 0


def _table(arguments: argparse.Namespace) -> int:
    from gdro.common.files import read_json
    from gdro.evaluation import markdown

    files = {name: Path(name) / "eval.json" for name in arguments.rest[1:]}
    absent = [name for name, file in files.items() if not file.is_file()]
    if absent or not files:
        raise GdroError(f"gdro eval table needs folders of finished evaluations, not {absent or 'none'}")
    models = {name: read_json(file, ("sets",)) for name, file in files.items()}
    k = max(arguments.k or [arguments.samples])
    sizes = {name: found["sets"]["all"]["samples"] for name, found in models.items()}
    lacking = [name for name, found in models.items() if f"pass@{k}" not in found["sets"]["all"]]
    if lacking or len(set(sizes.values())) > 1:
        raise GdroError(
            f"all need as many samples and pass@{k} (--k); samples: {sizes}; without: {lacking}"
        )
    print(markdown(models, k))
    return 0


def _recipe(arguments: argparse.Namespace) -> int:
    from gdro.common.files import write_json
    from gdro.recipes.checks import check_evaluation
    from gdro.recipes.schema import RecipeError, load_recipe

    recipe = load_recipe(arguments.recipe, arguments.rest)
    check_evaluation(recipe)
    if not recipe.evaluation.samples:
        raise RecipeError("evaluation.samples is 0: nothing is sampled; give evaluation.samples=16")
    if arguments.model is not None and not Path(arguments.model).is_dir():
        raise GdroError(f"no model folder {arguments.model!r}; pass one that save_pretrained wrote")
    from gdro.evaluation.transformers import load_model
    from gdro.recipes.run import evaluate_model, load_task

    task = load_task(recipe)
    if not len(task.heldout):
        raise RecipeError(f"recipe {arguments.recipe!r} has no held-out prompt to evaluate on")
    if arguments.model is None:  # slices are by other samples than those that are counted
        few = recipe.evaluation.base_samples
        _, base_N = evaluate_model(recipe, task, task.model, None, few, stream=2)
        result, _ = evaluate_model(recipe, task, task.model, base_N / few)
    else:
        result, _ = evaluate_model(recipe, task, load_model(arguments.model), None)
        result.pop("slices")  # they are by base difficulty, which a lone model does not have
    _print_recipe(result)
    if arguments.output is not None:
        write_json(arguments.output / "eval.json", result)
    return 0


def _print_recipe(result: dict[str, Any]) -> None:
    from gdro.cli.tables import print_table

    metric = next(name for name in result if name.startswith("pass@"))
    mean = metric.replace("pass", "mean")
    rows = [{**result, "name": "all"}, *result.get("slices", []), *result.get("sources", [])]
    lines = [
        [
            row["name"],
            str(row["num_prompts"]),
            f"{row[mean]:.3f}",
            f"{row[metric]:.3f}",
            "{:.3f} to {:.3f}".format(*row[f"ci_{metric}"]),
        ]
        for row in rows
    ]
    print_table(("held-out prompts", "number", "pass@1", metric, "95% interval"), lines)
