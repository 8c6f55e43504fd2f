"""Stores of tiny bundles, and servers and hubs over them."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from model_store.manifest import Draft, Manifest
from service.hub import ModelHub
from service.settings import Settings
from service.telemetry import Telemetry
from tests.service.bundles import MAKERS, publish
from tests.service.loads import Loads
from tests.service.server import Server, serving

Publish: TypeAlias = Callable[..., Manifest]
Start: TypeAlias = Callable[..., Server]
Hubs: TypeAlias = Callable[..., ModelHub]

MAX_BODY_BYTES = 8 * 2**20


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of every tiny bundle. Read only; tests that publish take ``root``."""
    root = tmp_path_factory.mktemp("store")
    for maker in MAKERS.values():
        publish(root, maker)
    return root


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over ``store`` for the whole session."""
    folder = tmp_path_factory.mktemp("server")
    with serving(store, folder, max_body_bytes=MAX_BODY_BYTES) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers of a test's own: ``start(store, *flags, setting=value)``."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(store: Path, *flags: str, **settings: Any) -> Server:
            folder = tmp_path / f"server-{next(numbers)}"
            folder.mkdir()
            return stack.enter_context(serving(store, folder, *flags, **settings))

        yield start


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store of the test's own, empty."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def put(root: Path) -> Publish:
    """Publishes into ``root``: ``put(maker)``, ``put(maker, name)``."""

    def put(maker: Callable[[Path], Draft], name: str | None = None) -> Manifest:
        return publish(root, maker, name)

    return put


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    """Every load of a version goes through it, in this process."""
    loads = Loads()
    with monkeypatch.context() as patch:
        patch.setattr("service.residency.load", loads)
        yield loads
        loads.release()


@pytest.fixture
def quiet(root: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of whatever is loaded in this process: over ``root``, in threads, unmeasured."""
    return {"store": root, "threads": 1, "tune": False, "cache": tmp_path / "cache"}


@pytest.fixture
async def hubs(quiet: dict[str, Any]) -> AsyncIterator[Hubs]:
    """Makes hubs over ``root`` in this process, and closes them."""
    made: list[ModelHub] = []

    def make(**settings: Any) -> ModelHub:
        made.append(ModelHub(Settings(**{**quiet, **settings}), Telemetry()))
        return made[-1]

    yield make
    for hub in made:
        await hub.close(timeout_s=20)
