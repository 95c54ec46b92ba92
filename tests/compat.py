"""Run the adapter and core suites on the oldest and newest versions that pyproject.toml allows.

`make compat` and `make compat-verl` run it: each row has an environment of its own, made under
`.compat` (5 GB and 4 GB, once). Those of the newest versions are resolved again in every run.
`verl-main` is verl's development branch, which pyproject.toml does not allow yet.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("pytest>=8", "hypothesis>=6.100", "pytest-xdist>=3.6", "mpmath>=1.3", "scipy")
CORE = (
    "tests/checkpoint",
    "tests/contract",
    "tests/difficulty",
    "tests/golden",
    "tests/memory",
    "tests/numerics",
    "tests/step",
    "tests/strategies",
    "tests/trust/test_disk.py",
    "tests/trust/test_hostile_numbers.py",
    "tests/trust/test_fuzzed_checkpoints.py",
    "tests/trust/test_interleavings.py",
    "tests/trust/test_older_releases.py",
)
TRL = ("tests/integrations", "tests/trust/test_older_releases.py")
VERL = ("tests/verl",)
VERL_MAIN = "git+https://github.com/verl-project/verl@main"


@dataclass(frozen=True)
class Row:
    """An environment: what is pinned in it, what is run, and by which Python.

    Attributes:
        extra: Of this package.
        pins: Requirements; the first one is installed before the others.
        tests: What is run.
        python: Interpreter of the environment.
        newest: Whatever is released since the last run belongs to it.
        over: Source of a package that replaces the one that was resolved; empty: none.
    """

    extra: str
    pins: tuple[str, ...]
    tests: tuple[str, ...]
    python: str = "python3.11"
    newest: bool = False
    over: str = ""


VERL_PINS = ("torch==2.13.0", "verl<0.10", "TransferQueue", "numpy")
ROWS = {
    "numpy-oldest": Row("", ("numpy==1.26.0",), CORE),
    "numpy-newest": Row("", ("numpy",), CORE, newest=True),
    "python-newest": Row("", ("numpy",), CORE, "python3.12", newest=True),
    "trl-oldest": Row(
        "[trl]",
        (
            "torch==2.13.0",
            "trl==1.12.0",
            "transformers==4.56.2",
            "numpy==1.26.4",
            "pyarrow<22",
            "tensorboard",
        ),  # newer builds of pyarrow need numpy 2
        TRL,
    ),
    "trl-newest": Row(
        "[trl]",
        ("torch==2.13.0", "trl<1.17", "transformers", "numpy", "tensorboard"),
        TRL,
        newest=True,
    ),
    "verl-newest": Row("[verl,report]", VERL_PINS, VERL, newest=True),
    "verl-main": Row("[verl,report]", VERL_PINS, VERL, newest=True, over=VERL_MAIN),
}


def python_of(folder: Path) -> str:
    return str(folder / "bin/python")


def wanted(row: Row) -> str:
    """What an environment that is ready was made from."""
    return "\n".join((row.python, row.extra, row.over, *row.pins, *TOOLS))


def stale(row: Row, folder: Path) -> bool:
    """Whether an environment is to be resolved (again)."""
    ready = folder / "ready"
    return row.newest or not ready.exists() or ready.read_text() != wanted(row)


def prepare(row: Row, folder: Path) -> None:
    """Make the environment, or bring it to what the row asks for today."""
    if not stale(row, folder):
        return
    if not (folder / "ready").exists():
        make = [row.python, "-m", "venv", "--clear", str(folder)]
        if shutil.which(row.python) is None or subprocess.run(make).returncode:
            sys.exit(f"{row.python} does not run here; install it (pyenv: name it in PYENV_VERSION)")
    pip = [python_of(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if row.newest:  # all that these bring with them, too
        pip += ["--upgrade", "--upgrade-strategy", "eager"]
    if row.extra:  # the build for the CPU first, so that no other is taken
        subprocess.run([*pip, row.pins[0]], check=True)
    subprocess.run([*pip, *row.pins, *TOOLS, f"{ROOT}{row.extra}"], check=True)
    if row.over and subprocess.run([*pip, "--no-deps", "--force-reinstall", row.over]).returncode:
        print(f"{row.over} cannot be had here; the newest release stands in for it", flush=True)
    (folder / "ready").write_text(wanted(row))


def versions(folder: Path) -> str:
    code = (
        "from importlib.metadata import distributions as d; "
        "print(', '.join(sorted(f'{x.name} {x.version}' for x in d() "
        "if x.name in ('numpy', 'trl', 'transformers', 'torch', 'accelerate', 'datasets', "
        "'verl', 'ray', 'tensordict', 'TransferQueue'))))"
    )
    done = subprocess.run([python_of(folder), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="default: all")
    parser.add_argument("--folder", type=Path, default=ROOT / ".compat")
    parser.add_argument("--verl-main", default=VERL_MAIN, help="where verl-main comes from, for pip")
    options = parser.parse_args()
    failed = []
    # The tests run this checkout's sources, whatever the environment had installed.
    given = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    for name in options.rows or ROWS:
        row, folder = ROWS[name], options.folder / name
        row = replace(row, over=options.verl_main) if row.over else row
        prepare(row, folder)
        print(f"{name}, {row.python}: {versions(folder)}", flush=True)
        command = [
            python_of(folder),
            "-m",
            "pytest",
            "-n",
            "2",
            "--dist",
            "loadfile",
            "-p",
            "no:cacheprovider",
            *row.tests,
        ]
        if subprocess.run(command, cwd=ROOT, env=given).returncode:
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
