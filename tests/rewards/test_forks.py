"""Forked callers judge with workers of their own, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

SETUP = """
import os, random, signal, sys, threading, time
from gdro.rewards import MathVerifier

def rounds(verifier, seed, batches):
    rng = random.Random(seed)
    for _ in range(batches):
        truth = [rng.random() < 0.5 for _ in range(15)]
        given = ["2^{-1}" if right else "2^{-2}" for right in truth]
        if verifier.compare(["\\\\frac{1}{2}"] * 15, given) != truth:
            return False
    return True

def forked(verifier, seed):
    child = os.fork()
    if not child:
        signal.alarm(100)  # a child that hangs is killed, which the parent sees
        os._exit(0 if rounds(verifier, seed, 8) else 1)
    return child

verifier = MathVerifier(workers=1, timeout_s=4.0)
assert rounds(verifier, 0, 1)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SETUP + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_forked_callers_get_their_own_verdicts() -> None:
    """Three children and the parent at once, each with right and wrong answers in its own order."""
    done = run("""
children = [forked(verifier, seed) for seed in (1, 2, 3)]
assert rounds(verifier, 4, 8)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
""")
    assert done.returncode == 0, done.stderr


def test_a_fork_while_a_thread_judges() -> None:
    done = run("""
slow = "9^{9^{9^{9}}}"
thread = threading.Thread(target=verifier.compare, args=(["1"], [slow]))
thread.start()
while not verifier._pool._lock.locked():
    time.sleep(0.01)
child = forked(verifier, 1)
assert os.waitpid(child, 0)[1] == 0
verifier.close()
""")
    assert done.returncode == 0, done.stderr


def test_datasets_map_after_the_verifier_was_used(tmp_path: Path) -> None:
    """Four processes of `datasets`, each of which inherits the shared verifier with its workers."""
    (tmp_path / "judging.py").write_text("""
import os
from gdro.rewards import math_reward

reward = math_reward()

def judged(rows):
    found = reward(completions=rows["completion"], answer=rows["answer"])
    return {"judged": found, "process": [os.getpid()] * len(found)}
""")
    done = run(f"""
verifier.close()
sys.path.insert(0, {str(tmp_path)!r})
import random
from datasets import Dataset, disable_progress_bars
from judging import judged
disable_progress_bars()
rng = random.Random(0)
truth = [float(rng.random() < 0.5) for _ in range(600)]
data = Dataset.from_dict({{
    "answer": ["\\\\frac{{1}}{{2}}"] * 600,
    "completion": ["\\\\boxed{{2^{{-1}}}}" if right else "\\\\boxed{{2^{{-2}}}}" for right in truth],
}})
assert judged(data[:40])["judged"] == truth[:40]
mapped = data.map(judged, batched=True, batch_size=50, num_proc=4)
assert mapped["judged"][:] == truth
assert os.getpid() not in mapped["process"][:]
assert judged(data[:40])["judged"] == truth[:40]
""")
    assert done.returncode == 0, done.stderr


def ended(process: Path) -> bool:
    """Whether a process is gone, after waiting for it for some seconds."""
    for _ in range(200):
        if not process.exists() or "Z (zombie)" in (process / "status").read_text():
            return True
        threading.Event().wait(0.05)
    return False


def test_a_forked_bystander_keeps_no_worker_alive() -> None:
    """It was forked without Python's knowledge, and holds all that its parent held."""
    code = """
import ctypes
libc = ctypes.CDLL(None)
bystander = libc.fork()
if not bystander:
    libc.sleep(600)
    os._exit(0)
print(verifier._pool._workers[0].process.pid, bystander, flush=True)
input()
"""
    command = [sys.executable, "-c", SETUP + code]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker, bystander = (Path(f"/proc/{int(pid)}") for pid in parent.stdout.readline().split())
    try:
        assert worker.exists()
        parent.kill()
        parent.wait()
        assert ended(worker) and bystander.exists()
    finally:
        subprocess.run(["kill", "-9", bystander.name], check=True)
        parent.communicate()
