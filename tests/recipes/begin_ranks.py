"""Run by torchrun on two CPU processes: each begins a run in folders that earlier ones left."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from test_origin import asked

from gdro.recipes import run_folder
from gdro.recipes.run import load_task, run
from gdro.recipes.schema import Recipe


def late(read: Callable[..., Any], first: bool) -> Callable[..., Any]:
    """As on slow disks: the first process reads after the other one's look, and that after a removal."""

    def wait(path: Path, *given: Any) -> Any:
        if path.name == run_folder.ORIGIN:
            until = time.monotonic() + (2 if first else 6)
            while path.exists() and time.monotonic() < until:
                time.sleep(0.1)
        return read(path, *given)

    return wait


def main(folder: Path) -> None:
    """Begin without an arm, where files are removed, and with one, and another path of the base."""
    rank = os.environ["RANK"]
    run_folder.read_json = late(run_folder.read_json, rank == "0")
    # The relative path of the base leads to nothing in the second process.
    os.chdir(folder / ("" if rank == "0" else "elsewhere"))

    def reached(state: str, recipe: Recipe, output: Path, **options: Any) -> None:
        def load(recipe: Recipe) -> Any:
            (folder / f"reached-{state}-{rank}").touch()
            return load_task(asked(folder))

        run(recipe, output, load=load, **options)

    one = asked(folder, "uniform")
    if rank == "0":
        shutil.copytree(folder / "run", folder / "begun")
        shutil.rmtree(folder / "begun/uniform")
        run_folder.keep(one, folder / "begun")
    reached("no-arm", one, folder / "begun")
    reached("arm", asked(folder, "uniform", base="base"), folder / "run", resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
