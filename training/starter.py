"""The starter set: one model of each family, trained side by side, one process per core.

Single-threaded runs next to each other use two cores better than one run with two threads does:
these networks are small, and threads would wait for each other more than they compute.
"""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from rich.console import Console

from model_store.places import Place, open_store
from training.errors import TrainingError
from training.progress import Board, Remote

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
    context = multiprocessing.get_context("spawn")
    failed = 0
    with context.Manager() as manager, Board(console) as board:
        messages = manager.Queue()
        listener = threading.Thread(target=_listen, args=(messages, board), daemon=True)
        listener.start()
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(min(cores, len(names)), context) as pool:
            runs = {pool.submit(_train_one, name, store, messages): name for name in names}
            for run in as_completed(runs):
                try:
                    run.result()
                except TrainingError as error:
                    failed = 2
                    board.line(runs[run]).say(f"{runs[run]}: {error}")
        messages.put(None)
        listener.join()
    return failed


def _listen(messages: Any, board: Board) -> None:
    """Pass what the runs say on to the board, until None comes."""
    while (message := messages.get()) is not None:
        name, method, arguments = message
        getattr(board.line(name), method)(*arguments)


def _train_one(name: str, store: Place, messages: Any) -> None:
    """In a process of its own: the only place here where torch is imported."""
    from training import recipe as recipes
    from training.pipeline import Order, run

    kind = recipes.find(name)
    order = Order(name=name, profile="quick", store=store, publish_as=name)
    run(order, kind(kind.profiles["quick"]), Remote(name, messages.put))
