"""Both translators, on a small language of its own; and over a socket."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from model_store.manifest import Manifest
from model_store.store import Store
from tests.conftest import Silent
from tests.service.server import serving
from training.parts.saying_anew import NETWORK
from training.parts.translating import Translating
from training.pipeline import Order, run
from training.recipe import Networks, Package, find

SMALL = {"width": 32, "heads": 2, "layers": 1, "vocabulary": 300, "batch_size": 32, "dropout": 0.0,
         "bfloat16": False, "beams": 2, "epochs": 12}  # fmt: skip
WORDS = {"the": "el", "old": "viejo", "king": "rey", "saw": "vió", "house": "libro", "and": "y",
         "sent": "envió", "river": "río", "man": "hombre", "people": "pueblo"}  # fmt: skip


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of four to six words; the other language says the last word first."""
    path = tmp_path_factory.mktemp("lines") / "lines.tsv"
    generator = np.random.default_rng(0)
    drawn = [generator.choice(list(WORDS), 4 + n % 3).tolist() for n in range(900)]
    turned = [[line[-1], *line[:-1]] for line in drawn]
    rows = [
        f"{' '.join(line)}\t{' '.join(WORDS[word] for word in other)}\n"
        for line, other in zip(drawn, turned, strict=True)
    ]
    path.write_text("".join(rows), encoding="utf-8")
    return path


class Learned(NamedTuple):
    """A recipe that was run, what it published and where."""

    recipe: Translating[Any]
    network: Any
    store: Path

    @property
    def manifest(self) -> Manifest:
        return Store(self.store).open("translator").manifest


@pytest.fixture(scope="module", params=["transformer_translator", "rnn_translator"])
def learned(
    request: pytest.FixtureRequest, lines: Path, tmp_path_factory: pytest.TempPathFactory
) -> Learned:
    kind, published = find(request.param), dict[str, Any]()

    class Kept(kind):  # type: ignore[valid-type, misc]
        """The recipe itself, which also keeps what it is handed to publish."""

        def package(self, networks: Networks, folder: Path) -> Package:
            published.update(networks)
            package: Package = super().package(networks, folder)
            return package

    recipe = Kept(kind.profiles["quick"].model_copy(update=SMALL))
    store = tmp_path_factory.mktemp(request.param)
    run(Order(request.param, "quick", store, "translator", data=lines), recipe, Silent())
    return Learned(recipe, published[NETWORK], store)


def test_it_learns_what_word_for_word_cannot(learned: Learned) -> None:
    manifest = learned.manifest
    plain = manifest.baselines["word_for_word"]
    assert manifest.metrics["chrf"] > plain["chrf"] > 60
    assert manifest.metrics["bleu"] > plain["bleu"]
    assert "Of 900 lines 0 were left out as empty" in manifest.evaluation
    card = (learned.store / "translator" / "1" / "card.md").read_text()
    assert "| source | reference | this model |" in card


@pytest.mark.parametrize("beams", [1, 2])
def test_a_server_says_what_was_scored(learned: Learned, beams: int, tmp_path: Path) -> None:
    sources = [pair.source for pair in learned.recipe.parts.test[:8]]
    said = learned.recipe.say(learned.network, sources, beams)
    with serving(learned.store, tmp_path) as server:
        answer = server.predict("generate", "translator", *sources, beams=beams)
        assert answer.status_code == 200
        assert [output["text"] for output in answer.json()["outputs"]] == said
