"""The weights of a published model, kept beside its graphs for later trainings to start from.

A graph has no names to find a layer by, and constants folded into it. Knows no recipe.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor

from model_store.bundle import Bundle
from model_store.manifest import Provenance
from training.errors import DataError
from training.recipe import Networks

FILE = "weights.safetensors"


def save(networks: Networks, names: Iterable[str], folder: Path) -> None:
    """Those of the named networks, as ``network/parameter``."""
    tensors = {
        f"{name}/{key}": tensor.contiguous().clone()  # tied weights are one tensor: a copy each
        for name in names
        for key, tensor in networks[name].state_dict().items()
    }
    # The library's own writer lets nobody but the owner read, and a server may be another user.
    (folder / FILE).write_bytes(as_bytes(tensors))


@dataclass(frozen=True)
class Start:
    """An earlier version to start from. ``tensors``: as :func:`save` named them."""

    bundle: Bundle
    tensors: dict[str, Tensor]

    @property
    def ref(self) -> str:
        return f"{self.bundle.manifest.name}@{self.bundle.manifest.version}"

    @property
    def origin(self) -> Provenance:
        """How it was made. Raises DataError."""
        if self.bundle.manifest.provenance is None:
            raise DataError(f"--from {self.ref}: expected a model that a recipe made")
        return self.bundle.manifest.provenance

    def give(self, networks: Networks) -> list[str]:
        """Copy every tensor that has its like there; what has none begins afresh, such as a layer
        for other labels, and is returned by name. Raises DataError where that is over half.
        """
        afresh: dict[str, int] = {}
        numbers = 0
        for name, network in networks.items():
            state = network.state_dict()
            for key, tensor in state.items():
                earlier = self.tensors.get(f"{name}/{key}")
                numbers += tensor.numel()
                if earlier is None or earlier.shape != tensor.shape:
                    afresh[f"{name}/{key}"] = tensor.numel()
                else:
                    state[key] = earlier.to(tensor.dtype)
            network.load_state_dict(state)
        if 2 * sum(afresh.values()) > numbers:
            raise DataError(
                f"--from {self.ref}: expected weights of the shapes that these settings ask for; it"
                f" has no such {', '.join(list(afresh)[:3])}"
            )
        return list(afresh)


def open_start(bundle: Bundle) -> Start:
    """Raises DataError where the bundle keeps no weights, CorruptBundle for other bytes."""
    manifest = bundle.manifest
    if FILE not in manifest.files:
        raise DataError(
            f"--from {manifest.name}@{manifest.version}: expected a bundle with {FILE}, as recipes"
            " that learn step by step publish them; it has none"
        )
    return Start(bundle, load_file(bundle.path(FILE)))
