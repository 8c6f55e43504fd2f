"""A store of plain Triton folders beside published bundles, and a server over both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.bundles import MAKERS, publish
from tests.service.protocols.open_inference.graphs import MODELS, put
from tests.service.server import Server, serving

MAX_BODY_BYTES = 4 * 2**20
MAX_ROWS = 1000


@pytest.fixture(scope="session")
def mixed_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only; tests that change something have a store of their own."""
    root = tmp_path_factory.mktemp("mixed")
    for maker in MAKERS.values():
        publish(root, maker)
    for name, make in MODELS.items():
        put(root, name, make())
    return root


@pytest.fixture(scope="session")
def server(mixed_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over all of them, for this folder's tests."""
    folder = tmp_path_factory.mktemp("open-inference")
    with serving(
        mixed_store, folder, cache=folder / "cache", max_body_bytes=MAX_BODY_BYTES,
        max_items=MAX_ROWS, access_log_per_s=100_000,
    ) as server:  # fmt: skip
        yield server
