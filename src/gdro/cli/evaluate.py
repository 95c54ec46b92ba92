"""`gdro eval`: a model on datasets or a recipe's held-out prompts, and comparisons of models."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gdro.common.files import check_folder
from gdro.common.installed import is_absent
from gdro.common.untrusted import shown
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

The same command continues after a kill, with the same samples."""

_NOT_OF_SETS = ("model", "data", "recipe", "output", "rest", "command", "run")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    evaluate = commands.add_parser(
        "eval",
        help="evaluate a model: mean@k, unbiased pass@k, majority votes; compare two",
        description="Sample every problem several times, score the samples, and write samples.jsonl, "
        "eval.json and eval.md: mean@S, majority vote, unbiased pass@k with intervals, by dataset, "
        "source, level and base difficulty.",
        epilog=_EPILOG,
    )
    option = evaluate.add_argument
    model = "folder that save_pretrained wrote, a name on the hub, or the server's name for it"
    option("--model", help=model)
    engines = ("transformers", "vllm")
    option("--backend", choices=engines, help="what generates (default: transformers)")
    server = (
        "generate by an OpenAI-compatible server, e.g. http://localhost:8000/v1; key: OPENAI_API_KEY"
    )
    option("--server", metavar="URL", help=server)
    data = "dataset as for gdro data; repeat for several"
    option("--data", action="append", metavar="SET[=FILE]", help=data)
    option("--recipe", help="evaluate on this recipe's held-out prompts instead")
    _add_sampling(option)
    base = "evaluation of the base model, for slices by its difficulty"
    option("--base", type=Path, metavar="DIR", help=base)
    option("--output", type=Path, help="folder (default: runs/eval/<model>)")
    option("rest", nargs="*", metavar="compare A B | table A B ... | key=value", help="see the examples")
    evaluate.set_defaults(run=partial(_eval, evaluate))


def _add_sampling(option: Any) -> None:
    option("--samples", type=int, default=8, help="completions per problem (%(default)s)")
    k = "k of pass@k, repeatable (default: 1 and --samples; compare and table: the largest there is)"
    option("--k", type=int, action="append", help=k)
    option("--limit", type=int, help="use only the first LIMIT problems of each dataset")
    option("--max-new-tokens", type=int, default=1024, help="longest completion (%(default)s)")
    option(
        "--temperature",
        type=float,
        default=1.0,
        help="sampling temperature; 0: greedy, with --samples 1 (%(default)s)",
    )
    top_p = "nucleus sampling: total probability of the tokens to sample from; 1: all (%(default)s)"
    option("--top-p", type=float, default=1.0, help=top_p)
    option("--batch-size", type=int, default=64, help="completions generated at once (%(default)s)")
    option("--seed", type=int, default=0, help="sampling seed (%(default)s)")
    style = "prompt by chat template, or as plain text for base models (%(default)s)"
    option("--style", choices=("chat", "plain"), default="chat", help=style)
    option("--instruction", help="text below each problem (default: to box the answer)")


def _eval(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if arguments.rest[:1] == ["compare"]:
        return _compare(arguments)
    if arguments.rest[:1] == ["table"]:
        return _table(arguments)
    check_folder(arguments.output or Path("runs/eval"), "--output")
    if arguments.data is None:
        if arguments.recipe is None:
            raise GdroError(
                "gdro eval has no problems; pass --data SET (gsm8k, mine.jsonl, ...) with --model, or "
                "--recipe NAME for a recipe's held-out prompts (quickstart, mine.yaml, ...), or use "
                "gdro eval compare A B"
            )
        for name, value in vars(arguments).items():
            if name not in _NOT_OF_SETS and value != parser.get_default(name):
                raise GdroError(
                    f"--{name.replace('_', '-')} is for --data; a recipe has its own keys, e.g. "
                    "evaluation.samples=16 evaluation.k=8 trl.temperature=0.6"
                )
        return _recipe(arguments)
    if arguments.recipe is not None:
        raise GdroError("--data and --recipe were both given; leave out one of them")
    if not arguments.model:
        wrong = "gdro eval --data needs --model" if arguments.model is None else "--model is empty"
        raise GdroError(f"{wrong}; pass a folder, a name on the hub, or the server's name for it")
    _check_generator(arguments)
    return _sets(arguments)


def _options(arguments: argparse.Namespace) -> Any:
    """Sampling options, checked."""
    from gdro.data.prompts import BOXED
    from gdro.evaluation import Options

    names = ("samples", "max_new_tokens", "temperature", "top_p", "batch_size", "seed", "style")
    instruction = BOXED if arguments.instruction is None else arguments.instruction
    options = Options(**{n: getattr(arguments, n) for n in names}, instruction=instruction)
    options.check()
    return options


def _datasets(arguments: argparse.Namespace, options: Any) -> dict[str, Any]:
    datasets: dict[str, Any] = {}
    for spec in arguments.data:
        name, table = _set(spec, options, arguments.limit)
        if name in datasets:
            raise GdroError(f"two sets are called {name!r}; rename a file, or evaluate them one by one")
        datasets[name] = table
    return datasets


def _sets(arguments: argparse.Namespace) -> int:
    from gdro.common.files import write_json, write_text
    from gdro.common.progress import bar
    from gdro.evaluation import evaluate, markdown, read_records, scores
    from gdro.evaluation.table import details

    options = _options(arguments)
    ks = sorted(set(arguments.k or [1, options.samples]))
    if ks[0] < 1 or ks[-1] > options.samples:
        wrong = ks[0] if ks[0] < 1 else ks[-1]
        raise GdroError(f"--k is {wrong}; it must be 1 to --samples, which is {options.samples}")
    if arguments.rest:
        raise GdroError(
            f"{arguments.rest[0]!r} cannot be combined with --data; key=value is for --recipe"
        )
    datasets, base = _datasets(arguments, options), None
    if arguments.base is not None:
        records = read_records(arguments.base)
        base = {(r.set, r.prompt_id): sum(r.right) / len(r.right) for r in records}
    folder = arguments.output or folder_of(arguments.model)
    generator, progress = _generator(arguments), partial(bar, desc="evaluating")
    records = evaluate(generator, datasets, folder, options, progress)
    result = scores(records, ks, base)
    for line in [*_requests(generator), *_endings(result["completions"], records)]:
        print(line)
    text = f"{markdown({arguments.model: result}, max(ks))}\n{details(result, ks)}"
    write_json(folder / "eval.json", result)
    write_text(folder / "eval.md", text)
    print(f"{text}\nfolder: {folder}")
    return 0


def _requests(generator: Any) -> Iterator[str]:
    """What is to be said of requests to a server."""
    again, left_out = getattr(generator, "again", None), getattr(generator, "left_out", None)
    if again:
        why = ", ".join(f"{count} {kind}" for kind, count in again.most_common())
        yield f"repeated requests: {again.total()} ({why})"
    if left_out:
        seed = "; without a seed, other runs give other samples" if "seed" in left_out else ""
        yield f"settings that the server refuses, left out: {', '.join(sorted(left_out))}{seed}"


def _endings(counts: dict[str, int], records: Sequence[Any]) -> Iterator[str]:
    """What is to be said of completions that hold no whole answer."""
    number = counts["number"]
    if counts["refused"]:
        whys = (ending for record in records for ending in record.endings)
        why = next(ending for ending in whys if ending.startswith("refused: "))
        yield f"{counts['refused']} of {number} samples count as wrong: their prompts were {shown(why)}"
    if counts["empty"] or counts["cut"]:
        yield (
            f"of {number} completions, {counts['empty']} are empty and {counts['cut']} were cut off at "
            "--max-new-tokens (a server with a reasoning parser leaves texts empty until thinking ends)"
        )


def folder_of(model: str) -> Path:
    """Default folder of a model's evaluation."""
    name = model.rstrip("/").replace("/", "--")
    near = name in ("", ".", "..")  # a folder by its place, not by its name
    return Path("runs/eval") / ((Path(model).resolve().name or "root") if near else name)


def _check_generator(arguments: argparse.Namespace) -> None:
    """Raise before any data is loaded if the backend or server cannot be used."""
    if arguments.server is not None:
        if arguments.backend is not None:
            raise GdroError("--server and --backend were both given; leave out --backend")
        if not re.fullmatch(r"https?://[^/\s]\S*", arguments.server):
            raise GdroError(
                f"--server is {shown(arguments.server)!r}; it must be a URL, e.g. "
                "http://localhost:8000/v1"
            )
    elif arguments.backend == "vllm" and is_absent("vllm"):
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
    largest = min((len(record.right) for record in (*first, *second)), default=1)
    print(comparison_table(compare(first, second, max(arguments.k or [largest]))))
    return 0


def _table(arguments: argparse.Namespace) -> int:
    from gdro.evaluation import markdown
    from gdro.evaluation.table import passk_of, read_scores

    models = {name: read_scores(Path(name)) for name in arguments.rest[1:]}
    if not models:
        raise GdroError("gdro eval table needs folders of finished evaluations")
    sizes = {name: result["sets"]["all"]["samples"] for name, result in models.items()}
    if len(set(sizes.values())) > 1:
        raise GdroError(f"samples: {sizes}; all evaluations need the same number of samples")
    common = set[int].intersection(*map(passk_of, models.values()))
    k = max(arguments.k or common or [sizes[arguments.rest[1]]])
    if k not in common:
        there = ", ".join(f"pass@{k}" for k in sorted(common)) or "no pass@k"
        raise GdroError(
            f"not all have pass@{k}; they have {there}: pass --k K, or evaluate with --k {k}"
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
        raise RecipeError("evaluation.samples is 0: nothing is sampled; pass evaluation.samples=16")
    if arguments.model is not None and not Path(arguments.model).is_dir():
        raise GdroError(f"no model folder {arguments.model!r}; pass one that save_pretrained wrote")
    from gdro.evaluation.transformers import load_model
    from gdro.recipes.run import evaluate_model, load_task

    task = load_task(recipe)
    if not len(task.heldout):
        raise RecipeError(f"recipe {arguments.recipe!r} has no held-out prompt to evaluate on")
    if arguments.model is None:  # slices use other samples than the scores
        few = recipe.evaluation.base_samples
        _, base_N = evaluate_model(recipe, task, task.model, None, few, stream=2)
        result, _ = evaluate_model(recipe, task, task.model, base_N / few)
    else:
        result, _ = evaluate_model(recipe, task, load_model(arguments.model), None)
        result.pop("slices")  # slices are by base difficulty, which one model alone does not have
    _print_recipe(result)
    if arguments.output is not None:
        write_json(arguments.output / "eval.json", result)
    return 0


def _print_recipe(result: dict[str, Any]) -> None:
    from gdro.cli.tables import print_table

    metric = next(name for name in result if name.startswith("pass@"))
    mean, ci = metric.replace("pass", "mean"), f"ci_{metric}"
    rows = [{**result, "name": "all"}, *result.get("slices", []), *result.get("sources", [])]
    interval = "{:.3f} to {:.3f}"
    lines = [
        (
            r["name"],
            str(r["num_prompts"]),
            *(f"{r[m]:.3f}" for m in (mean, metric)),
            interval.format(*r[ci]),
        )
        for r in rows
    ]
    print_table(("held-out prompts", "number", "pass@1", metric, "95% interval"), lines)
