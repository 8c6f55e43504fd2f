"""What every test shares: seeded Hypothesis, each recipe trained for a moment, the starter set."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
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
    """Every recipe that can be, trained as its ``smoke`` says and published under its own name."""

    store: Path
    recipes: "dict[str, tuple[Recipe[Any], Networks]]"
    """Name → the recipe as it was loaded and the networks it published, on the CPU, in eval mode.

    The served graphs are made from ``recipe.package(networks, an empty folder)``.
    """


PROGRAMS = {"gan_faces": "node"}
"""Recipes whose own data a program draws, and that program."""


def lacks(name: str) -> str:
    """What this machine lacks for a recipe's own data; mostly nothing."""
    program = PROGRAMS.get(name)
    return f"{program} is not installed" if program and not shutil.which(program) else ""


def each(names: Iterable[str]) -> list[Any]:
    """Parameters for tests of recipes, skipped where the machine lacks something."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(lacks(name)), reason=lacks(name)))
        for name in names
    ]


class Silent:
    """A reporter for runs that no one watches."""

    def start(self, label: str, steps: int) -> None: ...
    def advance(self, loss: float, validation: float | None, steps: int = 1) -> None: ...
    def stop(self, note: str) -> None: ...
    def say(self, words: str) -> None: ...


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, own_data: Callable[[str], Path | None]
) -> Trained:
    """Real models for tests that need them; made when the first one asks. Read only."""
    from training import recipe as recipes

    store = tmp_path_factory.mktemp("trained")
    names = [name for name in recipes.names() if not lacks(name)]
    return Trained(store, {name: _train(name, store, own_data(name)) for name in names})


def _digit_folders(folder: Path) -> Path:
    """Pictures for recipes whose own may not be fetched by a test."""
    from tests.pictures import digit_folders

    return digit_folders(folder)


def _recordings(folder: Path) -> Path:
    """Vibration for recipes whose own may not be fetched by a test: noise, and noise with blows."""
    import numpy as np

    rng = np.random.default_rng(0)
    for kind, count in (("sound", 3), ("faulty", 2)):
        (folder / kind).mkdir(parents=True)
        for place in range(count):
            samples = rng.normal(size=2048 * 12)
            if kind == "faulty":
                samples[::600] += 40
            text = "\n".join(["acceleration", *(f"{value:.4f}" for value in samples)])
            (folder / kind / f"{place}.csv").write_text(text + "\n")
    return folder


OWN_DATA = {
    "autoencoder_inspection": _digit_folders,
    "autoencoder_machine": _recordings,
    "svm_features": _digit_folders,
}
"""Recipes whose own data a test may not fetch, and what makes other data for them."""


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path | None]:
    """Recipe → what ``--data`` names in tests; None where the recipe brings its own."""

    @cache
    def made(name: str) -> Path | None:
        make = OWN_DATA.get(name)
        return make(tmp_path_factory.mktemp("own") / name) if make else None

    return made


def _train(name: str, store: Path, data: Path | None) -> "tuple[Recipe[Any], Networks]":
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
    order = Order(name=name, profile="quick", store=store, publish_as=name, data=data, device="cpu")
    run(order, recipe, Silent())
    return recipe, published


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="train the full profiles too (an hour or two)"
    )
    parser.addoption("--soak", action="store_true", help="run the slow proofs of the server too")
    parser.addoption("--image", help="the container image to test (make image-test)")
    parser.addoption("--cluster", help="Kubernetes as build.sh made it (make cluster-test)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    makes = {"soak": "make soak", "image": "make image-test", "cluster": "make cluster-test"}
    for marker, command in makes.items():
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
