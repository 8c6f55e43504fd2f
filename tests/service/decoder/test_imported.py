"""A Llama from transformers, exported in Optimum's form, imported and served: it says the same."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from transformers import LlamaForCausalLM

from model_store.cli import main
from model_store.store import Store
from tests.model_store.graphs import echo
from tests.service.decoder import llamas
from tests.service.server import Server, serving

pytestmark = pytest.mark.slow  # for the export
LENGTHS = (1, 3, 5, 8, 13, 21, 34)
"""Words of the seven prompts."""
MOST = 28
ENDS = [llamas.END, llamas.END + 90]


class Served(NamedTuple):
    """The model as transformers has it, and a server of what was imported."""

    model: LlamaForCausalLM
    store: Path
    server: Server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = llamas.make()
    folder = llamas.export(model, tmp_path_factory.mktemp("exported"))
    store = tmp_path_factory.mktemp("store")
    words = ["--license", "Apache-2.0", "--source", "made in this test", "--name", "llama"]
    assert main(["import", str(folder), "--store", str(store), *words]) == 0
    (folder / "twice.onnx").write_bytes(echo().SerializeToString())
    words = ["--name", "echo", "--store", str(store)]
    assert main(["import", str(folder / "twice.onnx"), *words]) == 0
    with serving(store, tmp_path_factory.mktemp("server")) as server:
        yield Served(model, store, server)


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.choices(llamas.WORDS[4:], k=length)) for length in LENGTHS]


def tokens(served: Served, *prompts: str) -> list[list[int]]:
    """What the server says next, by its default, which is greedy."""
    response = served.server.predict("generate", "llama", *prompts, max_tokens=MOST)
    assert response.status_code == 200, response.text
    outputs = response.json()["outputs"]
    return [[llamas.WORDS.index(word) for word in output["text"].split()] for output in outputs]


def expected(served: Served, prompts: list[str]) -> list[list[int]]:
    return [llamas.said(served.model, prompt, MOST, ENDS) for prompt in prompts]


def test_alone_it_says_what_transformers_says(served: Served, prompts: list[str]) -> None:
    wanted = expected(served, prompts)
    assert [tokens(served, prompt)[0] for prompt in prompts] == wanted
    assert len({len(one) for one in wanted}) > 1  # some end by themselves
    assert min(len(set(one)) for one in wanted) > 1  # and none says one word for ever


def test_beside_six_others_each_says_what_transformers_says(
    served: Served, prompts: list[str]
) -> None:
    assert tokens(served, *prompts) == expected(served, prompts)


def test_what_was_imported_is_a_whole_bundle_with_its_licence_and_source(served: Served) -> None:
    bundle = Store(served.store).open("llama")
    bundle.verify()
    manifest = bundle.manifest
    assert set(manifest.files) == {"model.onnx", "model.onnx.data", "tokenizer.json"}
    assert (manifest.license, manifest.source) == ("Apache-2.0", "made in this test")
    decoding = manifest.graphs["model"].decoding
    assert decoding is not None
    assert (decoding.context, decoding.end) == (llamas.CONTEXT, tuple(ENDS))
    card = served.server.client.get("/v1/models/llama").json()
    assert (card["license"], card["source"]) == ("Apache-2.0", "made in this test")


def test_a_plain_graph_that_was_imported_answers_beside_it(served: Served) -> None:
    response = served.server.predict("predict", "echo", [1, 2], [3, 4])
    assert response.status_code == 200, response.text
    outputs = [answer["outputs"]["x_out"] for answer in response.json()["outputs"]]
    assert outputs == [[1, 2], [3, 4]]
