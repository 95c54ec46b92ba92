"""Build the wheel, install it alone with numpy in a new environment, and use it outside the repo."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECK = """
import sys
import gdro
from gdro import Controller, Outcome, Problem, Request, list_strategies, make_strategy
assert "torch" not in sys.modules
keys = [f"p{i}" for i in range(20)]
columns = {"difficulty": list(range(len(keys)))}
for name in list_strategies():
    controller = Controller(make_strategy(name), Problem(keys, columns=columns), seed=0)
    for _ in range(3):
        plan = controller.plan(Request(num_prompts=8, num_rollouts=32))
        rows = plan.prompt_R
        outcome = Outcome(plan.ticket, rows, (rows % 2).astype(float), rows % 2 == 1)
        controller.weigh(outcome)
        controller.observe(outcome)
assert set(list_strategies()) >= {"uniform", "prompt-gdro", "rollout-gdro", "joint"}
print("wheel works without torch:", gdro.__version__, gdro.__file__)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = out.glob("*.whl")
        names = subprocess.run(
            [sys.executable, "-m", "zipfile", "-l", str(wheel)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for needed in ("gdro/py.typed", "chains/model.safetensors", "recipes/quickstart.yaml"):
            assert needed in names, f"{needed} is not in the wheel"
        venv.create(out / "env", with_pip=True)
        python = out / "env/bin/python"
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, str(wheel)], check=True)
        subprocess.run([str(python), "-c", CHECK], check=True, cwd=folder)
        subprocess.run([str(out / "env/bin/gdro"), "strategies"], check=True, cwd=folder)


if __name__ == "__main__":
    main()
