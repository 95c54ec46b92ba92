"""Errors. Each message says what was got, what is allowed, and how to fix it."""


class GdroError(ValueError):
    """Base of every error that gdro raises on bad input."""


class ProblemError(GdroError):
    """The prompts are unusable: keys are missing, duplicated, or of the wrong type."""


class RequestError(GdroError):
    """A request cannot be planned: too many prompts, a prompt twice, a bad index."""


class BudgetError(GdroError):
    """No allocation within the bounds spends exactly the requested number of rollouts."""


class OutcomeError(GdroError):
    """Rollouts came back malformed: wrong lengths, NaN rewards, prompts that were not planned."""


class TicketError(GdroError):
    """A ticket is unknown, was closed already, or too many are open."""


class StrategyError(GdroError):
    """A strategy or one of its options is unknown or out of range."""


class CheckpointError(GdroError):
    """A checkpoint is damaged, cannot be written, or belongs to another strategy, seed or dataset."""


class KeysError(CheckpointError):
    """A checkpoint is of another dataset, or its bins are of other categories.

    Args:
        difference: How they differ.
        follow: What `keys="match"` would do; empty where it cannot help.
        other: What else can be done.
    """

    def __init__(self, difference: str, follow: str, other: str) -> None:
        super().__init__(difference, follow, other)
        self.difference, self.follow, self.other = difference, follow, other

    def __str__(self) -> str:
        return self.message("Pass keys='match'")

    def message(self, how: str) -> str:
        """The message for a caller where `how` follows the keys."""
        if not self.follow:
            return f"{self.difference}. {self.other[0].upper()}{self.other[1:]}"
        return f"{self.difference}. {how} to {self.follow}, or {self.other}"


class SettingsError(CheckpointError):
    """A checkpoint is of another strategy, or of other options, another difficulty or seed."""

    def __str__(self) -> str:
        return self.message("start without the checkpoint")

    def message(self, otherwise: str) -> str:
        """The message for a caller where `otherwise` continues without the controller's state."""
        return f"{self.args[0]}; resume with the same strategy, options and seed, or {otherwise}"


class LogError(GdroError):
    """The run log cannot be written, is damaged, or belongs to another run."""


class DivergenceError(GdroError):
    """Ranks that must agree have different controller states."""


class UnsupportedError(GdroError):
    """A feature of the trainer cannot work with planned rollouts."""


class StudyError(GdroError):
    """A study, a testbed or a warm start cannot be used."""


class DryRunError(GdroError):
    """The dry run cannot take a configuration, or it failed."""
