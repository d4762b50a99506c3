"""Every error that the factory raises on purpose, named after where it broke.

A `FactoryError` reaches the user as its message alone, without a traceback: what, how many, which rows, the next
command, the state of the world. Anything else that escapes is a bug.
"""


class FactoryError(Exception):
    """Base of all. `exit_code` is what the process returns."""

    exit_code = 1


class UsageError(FactoryError):
    """The command line, the recipe or an input file is wrong; nothing was written."""

    exit_code = 2


class RecipeError(UsageError):
    """An unknown recipe, key or value."""


class ProblemsError(UsageError):
    """Rows of a problem source cannot be used."""


class HomeError(FactoryError):
    """The home folder cannot be read or written, or another build holds it."""


class EngineError(FactoryError):
    """The model cannot be loaded, or too many requests failed."""


class SandboxError(FactoryError):
    """The kernel refuses isolation, or the sandbox itself is broken."""


class StepFailed(FactoryError):
    """A larger share of a step's rows failed than the recipe allows."""


class GateFailed(FactoryError):
    """The candidate broke a promise; nothing was promoted."""


class SnapshotError(FactoryError):
    """A snapshot does not exist, or does not match its manifest."""


class SqlError(UsageError):
    """A query of the user's, or a model file, is wrong."""


class TrainingError(FactoryError):
    """A snapshot cannot be trained on with this model and recipe, or the training broke."""
