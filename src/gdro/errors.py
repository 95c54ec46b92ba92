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


class KeysError(CheckpointError):
    """A checkpoint is of another pool, or its bins are of other categories.

    Args:
        found: How they differ.
        follow: What `keys="match"` would do; empty where it cannot help.
        other: What else can be done.
    """

    def __init__(self, found: str, follow: str, other: str) -> None:
        super().__init__(found, follow, other)
        self.found, self.follow, self.other = found, follow, other

    def __str__(self) -> str:
        return self.said("Pass keys='match'")

    def said(self, how: str) -> str:
        """The message for a caller whose word for following the keys is `how`."""
        if not self.follow:
            return f"{self.found}. {self.other[0].upper()}{self.other[1:]}"
        return f"{self.found}. {how} to {self.follow}, or {self.other}"


class SettingsError(CheckpointError):
    """A checkpoint is of another strategy, or of other options, another difficulty or seed.

    Args:
        found: How they differ.
    """

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return self.said("start without the checkpoint")

    def said(self, otherwise: str) -> str:
        """The message for a caller whose way to go on without the controller's state is `otherwise`."""
        return f"{self.found}; resume with the same strategy, options and seed, or {otherwise}"


class LogError(GdroError):
    """The run log cannot be written, is damaged, or holds another run."""


class DivergenceError(GdroError):
    """Ranks that must agree hold different controller states."""


class UnsupportedError(GdroError):
    """A feature of the trainer that cannot work with planned rollouts."""


class StudyError(GdroError):
    """A study, a testbed or a warm start is unfit."""


class DryRunError(GdroError):
    """A configuration that the dry run cannot take, or a dry run that failed."""
