"""A simulated training with checkpoints of its own: the controller's and the world's."""

from __future__ import annotations

import json
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np

from chaos.kills import Where
from chaos.story import RESULT, Job, watched_log
from gdro import Controller, Request, make_strategy
from gdro.checkpoint import archive as files
from gdro.common.files import write_json
from gdro.simulate import Population, SimulatedPolicy
from gdro.simulate.population import RememberedRow

STEPS, EVERY, PROMPTS, BATCH = 24, 3, 3000, 16
_WORLD = ("_skills", "_own_N")


@cache
def population() -> Population:
    return Population(num_prompts=PROMPTS, num_heldout=10)


def new_world() -> SimulatedPolicy:
    return SimulatedPolicy(population(), STEPS, seed=3)


def job(strategy: str) -> Job:
    """A simulated run of a strategy."""

    def work(folder: Path, where: Where) -> None:
        simulate(folder, strategy, where)

    def check(folder: Path) -> None:
        for path in folder.glob("*.npz"):
            files.read(path)

    phases = ["checkpoint", "log", "observe", "checkpoint", "plan", "log", "weigh"]
    if make_strategy(strategy).extends:
        phases.insert(0, "extend")
    return Job("simulator", work, check, phases, STEPS // EVERY // 2)


def simulate(folder: Path, strategy: str, where: Where) -> None:
    """Train from where the folder's checkpoints end; a newer one replaces those before it."""
    world = new_world()
    log = watched_log(folder / "gdro", where)
    controller = Controller(make_strategy(strategy), _problem(), seed=1, log=log)
    first = resume(folder, controller, world)
    for step in range(first, STEPS):
        with where.inside("plan"):
            plan = controller.plan(Request(BATCH, 4 * BATCH))
        outcome, right_R = world.roll_out(plan)
        with where.inside("extend") if controller.strategy.extends else nullcontext():
            while (more := controller.extend(outcome)) is not None:
                further, further_right_R = world.roll_out(more)
                outcome = outcome.joined(further)
                right_R = np.concatenate([right_R, further_right_R])
        with where.inside("weigh"):
            weights = controller.weigh(outcome)
        recalled = world.learn(outcome, weights, right_R)
        with where.inside("observe"):
            controller.observe(outcome, np.zeros(len(outcome.prompt_R)), recalled=recalled)
        if (step + 1) % EVERY == 0:
            with where.inside("checkpoint"):
                save(folder, step + 1, controller, world)
    skills = world._skills.tobytes().hex()
    write_json(folder / RESULT, {"digest": controller.digest(), "skills": skills})


@cache
def _problem():
    return new_world().problem()


def save(folder: Path, step: int, controller: Controller, world: SimulatedPolicy) -> None:
    """The world first: a controller's checkpoint has its world."""
    arrays = {name: getattr(world, name) for name in _WORLD}
    arrays["stored"] = np.array([(p, *row) for p, rows in world._stored.items() for row in rows], float)
    header = {"step": world._step, "shared": world._shared}
    files.write(folder / f"world-{step:03}.npz", header, arrays)
    controller.save(folder / f"gdro-{step:03}.npz")


def resume(folder: Path, controller: Controller, world: SimulatedPolicy) -> int:
    """The step to go on from."""
    newest = max(folder.glob("gdro-*.npz"), default=None)
    if newest is None:
        assert controller.log is not None
        controller.log.set_aside()
        return 0
    controller.load(newest)
    header, arrays = files.read(newest.with_name(newest.name.replace("gdro", "world")))
    world._step, world._shared = header["step"], header["shared"]
    for name in _WORLD:
        setattr(world, name, arrays[name])
    for prompt, tokens, right, advantage in arrays["stored"].tolist():
        row = RememberedRow(int(tokens), bool(right), advantage)
        world._stored[int(prompt)] = (*world._stored.get(int(prompt), ()), row)
    return int(newest.stem.split("-")[1])


def finished(folder: Path) -> dict[str, str]:
    """What a run ended with."""
    return json.loads((folder / RESULT).read_text())
