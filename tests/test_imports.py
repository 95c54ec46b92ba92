"""The core needs numpy alone: trainers and plotting are neither imported nor missed."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import sys

BLOCKED = {blocked!r}


class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{{name}} is blocked")


sys.meta_path.insert(0, Block())
try:
    import torch
except ImportError:
    pass
else:
    raise SystemExit("the block does not work")

import numpy as np
import gdro
from gdro import Controller, Outcome, Problem, Request, list_strategies, make_strategy

for name in list_strategies():
    keys, difficulty = [str(i) for i in range(9)], np.arange(9.0)
    c = Controller(make_strategy(name), Problem(keys, columns={{"difficulty": difficulty}}))
    for _ in range(3):
        plan = c.plan(Request(4, 16))
        right = np.arange(16) % 3 == 0
        outcome = Outcome(plan.ticket, plan.prompt_R, right * 1.0, right)
        c.weigh(outcome)
        c.observe(outcome)
    print(name, c.digest())
loaded = sorted(BLOCKED & {{m.split(".")[0] for m in sys.modules}})
raise SystemExit(f"imported {{loaded}}" if loaded else 0)
"""
BLOCKED = {
    *("torch", "trl", "transformers", "datasets", "matplotlib", "verl", "accelerate", "peft"),
    *("scipy", "pandas", "omegaconf", "yaml", "rich"),
}


def run(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )


def test_core_runs_without_any_trainer():
    done = run(PROGRAM.format(blocked=BLOCKED))
    assert done.returncode == 0, done.stderr
    assert "\njoint " in done.stdout


def test_digest_is_the_same_in_every_process():
    """No state depends on the order of sets or on string hashing."""
    first, second = (run(PROGRAM.format(blocked=BLOCKED), PYTHONHASHSEED=s) for s in "12")
    assert first.stdout == second.stdout
    assert len(first.stdout.splitlines()) >= 4
