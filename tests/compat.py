"""Run the adapter and core suites on the oldest and newest versions that pyproject.toml allows.

`make compat` runs it: each row has an environment of its own, made under `.compat` (5 GB, once).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("pytest>=8", "hypothesis>=6.100", "pytest-xdist>=3.6", "mpmath>=1.3", "scipy")
CORE = ("tests/core", "tests/contract", "tests/numerics", "tests/strategies", "tests/trust/test_disk.py",
        "tests/trust/test_hostile_numbers.py", "tests/trust/test_fuzzed_checkpoints.py",
        "tests/trust/test_interleavings.py", "tests/trust/test_older_releases.py")  # fmt: skip
TRL = ("tests/integrations", "tests/trust/test_older_releases.py")


@dataclass(frozen=True)
class Row:
    """An environment: what is pinned in it, and what is run."""

    extra: str
    pins: tuple[str, ...]
    tests: tuple[str, ...]


ROWS = {
    "numpy-oldest": Row("", ("numpy==1.26.0",), CORE),
    "numpy-newest": Row("", ("numpy",), CORE),
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
        "[trl]", ("torch==2.13.0", "trl<1.17", "transformers", "numpy", "tensorboard"), TRL
    ),
}


def python_of(folder: Path) -> str:
    return str(folder / "bin/python")


def prepare(name: str, row: Row, folder: Path) -> None:
    """Make the environment, unless it is there."""
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [python_of(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if row.extra:  # the build for the CPU first, so that no other is taken
            subprocess.run([*pip, row.pins[0]], check=True)
        subprocess.run([*pip, *row.pins, *TOOLS, f"{ROOT}{row.extra}"], check=True)
        (folder / "ready").touch()


def versions(folder: Path) -> str:
    code = (
        "from importlib.metadata import distributions as d; "
        "print(', '.join(sorted(f'{x.name} {x.version}' for x in d() "
        "if x.name in ('numpy', 'trl', 'transformers', 'torch', 'accelerate', 'datasets'))))"
    )
    done = subprocess.run([python_of(folder), "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="default: all")
    parser.add_argument("--folder", type=Path, default=ROOT / ".compat")
    options = parser.parse_args()
    failed = []
    # The tests run this checkout's sources, whatever the environment had installed.
    given = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    for name in options.rows or ROWS:
        row, folder = ROWS[name], options.folder / name
        prepare(name, row, folder)
        print(f"{name}: {versions(folder)}", flush=True)
        command = [python_of(folder), "-m", "pytest", "-n", "2", "--dist", "loadfile", "-p",
                   "no:cacheprovider", *row.tests]  # fmt: skip
        if subprocess.run(command, cwd=ROOT, env=given).returncode:
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
