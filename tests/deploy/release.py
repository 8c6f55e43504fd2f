"""The release that most tests of the cluster are about, and the cluster it is in."""

# ruff: noqa: T201 - the figures are half of what it is for

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kubernetes.cluster import cluster
from tests.deploy.kube import TAGS, Kube, readable, trace_of
from tests.service.bundles import publish, sensor, snail
from tests.service.callers import plain

REPLICAS = 2
CLAIM = "hub-modelhub"
SHARED = ("--set", "store.source=existingClaim", "--set", f"store.existingClaim={CLAIM}",
          "--set", "stop.drainSeconds=3")  # fmt: skip
"""For other releases over the store of ``hub``; nobody asks them while they stop."""


@contextlib.contextmanager
def running(kubernetes: Path, folder: Path, images: Path) -> Iterator[Kube]:
    """A cluster, known to kubectl and helm; in the end nothing of it may be left."""
    before, began = trace_of(os.getpid()), time.monotonic()
    try:
        with cluster(kubernetes, folder, images) as node, pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(node.kubeconfig))
            patch.setenv("KUBECACHEDIR", str(folder / "kubectl"))
            print(f"\nnode ready after {time.monotonic() - began:.0f} s")
            kube = Kube(node)
            with kube.api:
                yield kube
            began = time.monotonic()
    finally:
        assert trace_of(os.getpid()) == before
    print(f"\nstopped within {time.monotonic() - began:.0f} s, nothing left")


class Hub:
    """The release most tests are about: two replicas over a volume, whose models get versions."""

    def __init__(self, kube: Kube, store: Path) -> None:
        self.kube, self.store = kube, store
        self.version = 0
        publish(store, sensor)
        publish(store, snail)

    def roll(self) -> None:
        """A new version of the model and the other image, pod by pod; until the old are gone."""
        self.version += 1
        plain(self.store, "adder", self.version, adds=self.version)
        readable(self.store)
        self.kube.install(
            "hub", "--set", f"image.tag={TAGS[self.version % 2]}", "--set",
            f"replicas={REPLICAS}", "--set", "settings.repository=all",
        )  # fmt: skip
        self.kube.await_pods("hub", REPLICAS)
