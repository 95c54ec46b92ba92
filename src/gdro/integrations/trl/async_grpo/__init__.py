"""gdro in TRL's experimental AsyncGRPOTrainer: `GDROAsyncGRPOTrainer`.

TRL makes rollouts in a process of its own, and trains on those that are ready. The controller lives in
that process: `planner` says what to generate next, `loop` is TRL's loop with plans, `worker` starts it
and fetches its state, and `trainer` is the class for users.
"""

from gdro.integrations.trl.async_grpo.trainer import GDROAsyncGRPOTrainer

__all__ = ["GDROAsyncGRPOTrainer"]
