"""What makes many tiny trainings quick."""

import gc

import pytest


@pytest.fixture(autouse=True, scope="session")
def quick() -> None:
    """One thread, as the pipeline has it: tiny networks would spend their time handing work over.
    And what torch brings along is no longer looked through each time a fit frees its memory.
    """
    import torch

    import training.pipeline  # noqa: F401 - all there is to import

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
