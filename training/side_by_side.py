"""Recipes trained side by side with their quick profiles, one process per core.

Single-threaded runs next to each other use two cores better than one run with two threads does:
these networks are small, and threads would wait for each other more than they compute. Each has a
process of its own: what one leaves behind in memory is none of the next one's.
"""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from rich.console import Console

from model_store.errors import StoreError
from model_store.places import Place
from training.errors import TrainingError
from training.progress import Board, Remote


def train(
    names: Sequence[str], store: Place, console: Console, *, resume: bool = False
) -> dict[str, str]:
    """Train and publish each, in this order. Which failed, and why: once a process is killed, for
    want of memory say, all that had not ended. ``resume``: go on where an earlier run was killed.
    """
    context = multiprocessing.get_context("spawn")
    failed: dict[str, str] = {}
    with context.Manager() as manager, Board(console) as board:
        messages = manager.Queue()
        listener = threading.Thread(target=_listen, args=(messages, board), daemon=True)
        listener.start()
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(
            min(cores, max(1, len(names))), context, max_tasks_per_child=1
        ) as pool:
            runs = {pool.submit(_train_one, name, store, resume, messages): name for name in names}
            for run in as_completed(runs):
                try:
                    run.result()
                except (TrainingError, StoreError, BrokenProcessPool) as error:
                    failed[runs[run]] = str(error)
                    board.line(runs[run]).say(f"{runs[run]}: {error}")
        messages.put(None)
        listener.join()
    return failed


def _listen(messages: Any, board: Board) -> None:
    """Pass what the runs say on to the board, until None comes."""
    while (message := messages.get()) is not None:
        name, method, arguments = message
        getattr(board.line(name), method)(*arguments)


def _train_one(name: str, store: Place, resume: bool, messages: Any) -> None:
    """In a process of its own: the only place here where torch is imported."""
    from training import recipe as recipes
    from training.pipeline import Order, run

    kind = recipes.find(name)
    order = Order(name=name, profile="quick", store=store, publish_as=name, resume=resume)
    run(order, kind(kind.profiles["quick"]), Remote(name, messages.put))
