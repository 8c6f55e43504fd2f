"""What every test shares: seeded Hypothesis, each recipe trained for a moment, the starter set."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from tests.buckets import S3
from tests.service.server import MODELHUB, Server, serving

if TYPE_CHECKING:
    from training.recipe import Networks, Recipe

settings.register_profile(
    "fixed",
    derandomize=True,  # the same examples in each run
    deadline=None,  # machines that test are shared
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("fixed")


class Trained(NamedTuple):
    """Every recipe, trained as its ``smoke`` says and published under its own name."""

    store: Path
    recipes: "dict[str, tuple[Recipe[Any], Networks]]"
    """Name → the recipe as it was loaded and the networks it published, on the CPU, in eval mode.

    The served graphs are made from ``recipe.package(networks, an empty folder)``.
    """


class Silent:
    """A reporter for runs that no one watches."""

    def start(self, label: str, steps: int) -> None: ...
    def advance(self, loss: float, validation: float | None, steps: int = 1) -> None: ...
    def stop(self, note: str) -> None: ...
    def say(self, words: str) -> None: ...


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Real models for tests that need them; made when the first one asks. Read only."""
    from training import recipe as recipes

    store = tmp_path_factory.mktemp("trained")
    return Trained(store, {name: _train(name, store) for name in recipes.names()})


def _train(name: str, store: Path) -> "tuple[Recipe[Any], Networks]":
    from tests.pictures import OWN_PICTURES, digit_folders
    from training import recipe as recipes
    from training.pipeline import Order, run
    from training.recipe import Networks, Package

    kind = recipes.find(name)
    published: Networks = {}

    class Kept(kind):  # type: ignore[valid-type, misc]
        """The recipe itself, which also keeps what it is handed to publish."""

        def package(self, networks: Networks, folder: Path) -> Package:
            published.update(networks)
            package: Package = super().package(networks, folder)
            return package

    recipe = Kept(kind.profiles["quick"].model_copy(update=dict(kind.smoke)))
    data = digit_folders(store.parent / f"{store.name}-{name}") if name in OWN_PICTURES else None
    order = Order(name=name, profile="quick", store=store, publish_as=name, data=data, device="cpu")
    run(order, recipe, Silent())
    return recipe, published


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="train the full profiles too (an hour or two)"
    )
    parser.addoption("--soak", action="store_true", help="run the slow proofs of the server too")
    parser.addoption("--image", help="the container image to test (make image-test)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker, command in (("soak", "make soak"), ("image", "make image-test")):
        if not config.getoption(f"--{marker}"):
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=f"{command} runs it"))


@pytest.fixture(scope="session")
def starter_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter set as ``make up`` trains it. MODELHUB_TEST_STARTER names one made before."""
    given = os.environ.get("MODELHUB_TEST_STARTER")
    store = Path(given) if given else tmp_path_factory.mktemp("starter")
    subprocess.run([MODELHUB, "starter", "--store", store], check=True)
    return store


@pytest.fixture(scope="session")
def starter(starter_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the starter set."""
    with serving(starter_store, tmp_path_factory.mktemp("starter-server")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server that speaks S3, for the whole session."""
    server = S3(tmp_path_factory.mktemp("s3") / "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The same, known to this test's environment, with a cache that is the test's own."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODELHUB_CACHE", str(tmp_path / "cache"))
    return s3_server
