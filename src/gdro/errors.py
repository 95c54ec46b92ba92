"""Errors. Each message says what was got, what is allowed, and how to fix it."""


class GdroError(ValueError):
    """Base of every error that gdro raises on bad input."""


class ProblemError(GdroError):
    """The pool of prompts is unusable: keys missing, duplicated, or of the wrong type."""


class RequestError(GdroError):
    """A plan was asked for that cannot be made: too many prompts, a prompt twice, a bad index."""


class BudgetError(GdroError):
    """No allocation within the bounds spends exactly the requested number of rollouts."""


class OutcomeError(GdroError):
    """Rollouts came back malformed: wrong lengths, NaN rewards, prompts that were not planned."""


class TicketError(GdroError):
    """A ticket is unknown, was closed already, or too many are open."""


class StrategyError(GdroError):
    """A strategy or one of its options is unknown or out of range."""


class CheckpointError(GdroError):
    """A checkpoint is damaged, cannot be written, or belongs to another strategy, seed or pool."""


class LogError(GdroError):
    """The run log cannot be written, is damaged, or holds another run."""


class DivergenceError(GdroError):
    """Ranks that must agree hold different controller states."""


class UnsupportedError(GdroError):
    """A feature of the trainer that cannot work with planned rollouts."""
