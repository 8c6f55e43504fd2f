"""The starter set: one model of each family, in the time it takes to drink a tea."""

from rich.console import Console

from model_store.places import Place, open_store
from training import side_by_side

STARTER = (
    "gan_digits",
    "transformer_sentiment",
    "cnn_digits",
    "rnn_demand",
    "autoencoder_telemetry",
)
"""The longest first, so that the last to finish is a short one."""


def missing(store: Place) -> list[str]:
    """Which of the set the store has no version of."""
    present = set(open_store(store).names())
    return [name for name in STARTER if name not in present]


def train(names: list[str], store: Place, console: Console) -> int:
    """Train and publish each with its quick profile. 0, or 2 where one of them failed."""
    return 2 if side_by_side.train(names, store, console) else 0
