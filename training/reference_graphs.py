"""Three graphs to measure a server with: ``python -m training.reference_graphs DIR``.

A small, a big and a token graph, in Triton's layout ``DIR/<name>/1/model.onnx``. Each is proved
against torch before it is put there. The weights are random, but follow from the seed: everybody
measures the same graphs.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

from model_store.manifest import Batching
from training.errors import ParityError
from training.export import export
from training.recipe import GraphExport, Package
from training.verify import verify

CONTENT = "1"
"""Raised when a graph changes; files of another content are made again."""
CONTENT_KEY = "reference_graphs"
SEED = 0
GRAPH = "model"
MOST_ROWS = 8
"""To prove at. A bigger batch adds nothing but minutes."""
VOCABULARY, TOKENS = 8192, 64


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a path that skips them (arXiv 1512.03385)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels_in, channels, 3, stride)
        self.second = _convolution(channels, channels, 3, 1)
        self.skip = (
            nn.Identity()
            if stride == 1 and channels_in == channels
            else _convolution(channels_in, channels, 1, stride)
        )

    def forward(self, picture: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(picture))) + self.skip(picture))


def _convolution(channels_in: int, channels: int, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(channels),
    )


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward step, each added and then normalised (arXiv 1706.03762).

    Written out in matrix products, as BERT's graph is. ONNX Runtime joins sum with normalisation,
    bias with GELU and scale with product; attention as a whole it knows only with a mask.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.after_attention, self.after_forward = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, flow: Tensor) -> Tensor:
        """``[B, T, D]`` → ``[B, T, D]``"""
        flow = self.after_attention(flow + self.output(self._attend(flow)))
        normalised: Tensor = self.after_forward(flow + self.down(F.gelu(self.up(flow))))
        return normalised

    def _attend(self, flow: Tensor) -> Tensor:
        query, key, value = (
            project(flow).reshape(-1, TOKENS, self.heads, self.size).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )  # each [B, H, T, D/H]
        weights = (query @ key.transpose(2, 3) / self.size**0.5).softmax(-1)
        mixed: Tensor = (weights @ value).transpose(1, 2)
        return mixed.reshape(-1, TOKENS, self.heads * self.size)


class Encoder(nn.Module):
    """int64 ``[B, T]`` → the mean of the last layer, ``[B, D]``."""

    def __init__(self, width: int = 256, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.places = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads, 4 * width) for _ in range(layers)))

    def forward(self, tokens: Tensor) -> Tensor:
        mean: Tensor = self.layers(self.norm(self.tokens(tokens) + self.places)).mean(1)
        return mean


def cnn_small() -> nn.Module:
    """1×28×28 → 10 probabilities."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(784, 120), nn.ReLU(), nn.Linear(120, 10), nn.Softmax(1),
    )  # fmt: skip


def resnet18() -> nn.Module:
    """3×224×224 → 1000 logits."""
    sizes = ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1),
             (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1))  # fmt: skip
    network = nn.Sequential(
        _convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        *(ResidualBlock(*size) for size in sizes),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000),
    )  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain mean of what it sees below
    with torch.no_grad():
        network(torch.rand(4, 3, 224, 224))
    return network


@dataclass(frozen=True)
class Reference:
    """A network and the names and the shape of what goes in and out."""

    build: Callable[[], nn.Module]
    input: str
    output: str
    shape: tuple[int, ...]
    """Of one row. Floats from 0 to 1, or tokens."""

    def sample(self, rows: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(rows)
        shape = (rows, *self.shape)
        if self.input == "tokens":
            return {self.input: torch.randint(VOCABULARY, shape, generator=generator)}
        return {self.input: torch.rand(shape, generator=generator)}


REFERENCES = {
    "cnn_small": Reference(cnn_small, "image", "probabilities", (1, 28, 28)),
    "resnet18": Reference(resnet18, "image", "logits", (3, 224, 224)),
    "encoder_small": Reference(Encoder, "tokens", "embedding", (TOKENS,)),
}


def build(name: str) -> nn.Module:
    """The network with its weights; the same ones each time, whatever else has drawn numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return REFERENCES[name].build().eval()


def write(name: str, root: Path) -> bool:
    """Put one graph in its place; False where it was there. Raises ParityError, OSError."""
    path = root / name / "1" / f"{GRAPH}.onnx"
    if _content(path) == CONTENT:
        return False
    reference = REFERENCES[name]
    graph = GraphExport(
        build(name), reference.sample, (reference.output,), batching=Batching(max_rows=MOST_ROWS)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".") as folder:
        exported = export(GRAPH, graph, Path(folder))
        verify(Package({GRAPH: graph}, {}), {GRAPH: exported}, Path(folder))
        made = Path(folder) / exported.file
        model = onnx.load(made)
        onnx.helper.set_model_props(model, {CONTENT_KEY: CONTENT})
        onnx.save(model, made)
        made.replace(path)
    return True


def _content(path: Path) -> str:
    """What the file says of itself; nothing where it is missing, or none of ours."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError):
        return ""
    return next((entry.value for entry in model.metadata_props if entry.key == CONTENT_KEY), "")


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all of them are there, 2 where one could not be made."""
    parser = argparse.ArgumentParser(prog="python -m training.reference_graphs")
    parser.add_argument("root", metavar="DIR", type=Path, help="the folder of models")
    root = parser.parse_args(argv).root
    try:
        for name in REFERENCES:
            words = "made" if write(name, root) else "was there"
            sys.stdout.write(f"{root / name}: {words}\n")
    except (OSError, ParityError) as error:
        sys.stderr.write(f"reference_graphs: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
