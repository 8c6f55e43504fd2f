"""Decoders to measure a server with: ``python -m training.reference_decoders DIR``.

Llama-shaped, of 13.8 million parameters (two: one has a longer context) and of 91 million,
published into the store ``DIR``. The weights are random, but follow from the seed: everybody
measures the same graphs. Each is proved against torch.
"""

import argparse
import random
import string
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from model_store.answers.text import TextAnswer
from model_store.errors import StoreError
from model_store.inputs.text import TextInput
from model_store.manifest import MAIN_GRAPH, Draft, Verb
from model_store.store import Store
from training.errors import ParityError
from training.export import export
from training.parts.decoder import Decoder, Shape
from training.parts.decoder_graph import decoder_export
from training.parts.tokens import learn_byte_tokenizer
from training.recipe import Package
from training.verify import verify

SEED = 0
VOCABULARY = 4096
SPREAD = 0.05
"""Standard deviation of the weights: large enough for logits that differ."""
SHAPES = {
    "decoder_small": Shape(width=384, layers=6, heads=6, context=512),
    "decoder_large": Shape(width=768, layers=12, heads=12, context=512),
    "decoder_long": Shape(width=384, layers=6, heads=6, context=2048),
}


def build(name: str) -> Decoder:
    """The network; the same weights each time, whatever else has drawn numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        decoder = Decoder(VOCABULARY, SHAPES[name]).eval()
        for module in decoder.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=SPREAD)
        return decoder


def write(name: str, store: Store) -> bool:
    """Publish one; False where it was there. Raises ParityError, StoreError, OSError."""
    if name in store.names():
        return False

    def sample(rows: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(rows)
        return {"tokens": torch.randint(VOCABULARY, (rows, 24), generator=generator)}

    package = Package(
        # No token ends a text, so that each is as long as it was asked to be.
        {MAIN_GRAPH: decoder_export(build(name), sample, start=(), end=())},
        {"generate": Verb(input=TextInput(mask=None), answer=TextAnswer(), example="to be or not")},
    )
    with store.stage(name) as folder:
        learn_byte_tokenizer(_words(), VOCABULARY).save(str(folder / "tokenizer.json"))
        graphs = {key: export(key, graph, folder) for key, graph in package.graphs.items()}
        draft = Draft(
            family="transformer",
            category="text",
            task="text-generation",
            description="Random weights, to measure with.",
            license="Apache-2.0",
            graphs=graphs,
            verbs=package.verbs,
            metrics={},
            evaluation="none: its weights are random",
            parity=verify(package, graphs, folder),
        )
        store.publish(name, folder, draft)
    return True


def _words() -> list[str]:
    rng = random.Random(SEED)
    return [
        " ".join(
            "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 8))) for _ in range(9)
        )
        for _ in range(2000)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all of them are there, 2 where one could not be made."""
    parser = argparse.ArgumentParser(prog="python -m training.reference_decoders")
    parser.add_argument("root", metavar="DIR", type=Path, help="the folder of models")
    parser.add_argument("names", metavar="NAME", nargs="*", help="which (default: all)")
    arguments = parser.parse_args(argv)
    try:
        for name in arguments.names or SHAPES:
            if name not in SHAPES:
                parser.error(f"expected one of {', '.join(SHAPES)}; got {name}")
            words = "made" if write(name, Store(arguments.root)) else "was there"
            sys.stdout.write(f"{arguments.root / name}: {words}\n")
    except (OSError, ParityError, StoreError) as error:
        sys.stderr.write(f"reference_decoders: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
