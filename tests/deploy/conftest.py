"""One cluster for all tests that are marked so, and the release in it."""

# ruff: noqa: T201 - the figures are half of what it is for

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kubernetes.cluster import lacking
from tests.deploy.kube import Kube, archive
from tests.deploy.release import CLAIM, REPLICAS, Hub, running


@pytest.fixture(scope="session")
def kubernetes(pytestconfig: pytest.Config) -> Path:
    if reason := lacking():
        pytest.skip(f"{reason}: Kubernetes NOT TRIED")
    return Path(pytestconfig.getoption("--cluster"))


@pytest.fixture(scope="session")
def images(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(str(pytestconfig.getoption("--image")), tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def kube(
    kubernetes: Path, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kube]:
    with running(kubernetes, tmp_path_factory.mktemp("cluster") / "node", images) as kube:
        yield kube


@pytest.fixture(scope="session")
def hub(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Hub:
    hub = Hub(kube, tmp_path_factory.mktemp("store"))
    kube.claim(CLAIM, hub.store)
    began = time.monotonic()
    hub.roll()
    print(f"\n{REPLICAS} pods ready {time.monotonic() - began:.0f} s after helm install")
    return hub
