"""What can go wrong in a training run and is the caller's to mend. The CLI prints it and exits 2.

::

    TrainingError
    ├── DataError            the data is not there, not readable, or not enough
    ├── UnknownRecipe        no recipe of that name
    ├── BadConfig            a flag's value that the recipe can't take
    ├── ParityError          the graph is not what the module is; nothing was published
    └── WorseScore           worse than the version that is served; nothing was published
"""


class TrainingError(Exception):
    """Root of the errors of a training run."""


class DataError(TrainingError):
    """The data is not there, not readable, or not enough. Says what was expected and what came."""


class UnknownRecipe(TrainingError):
    """No recipe of that name."""


class BadConfig(TrainingError):
    """A flag's value that the recipe can't take."""


class ParityError(TrainingError):
    """The graph is not what the module is, so nothing was published."""


class WorseScore(TrainingError):
    """Worse on the held-out data than the version that is served, so nothing was published."""
