"""What a client gets over the wire is what torch says, for every recipe and each of its verbs."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from model_store.bundle import Bundle
from model_store.manifest import Verb
from model_store.store import Store
from tests.conftest import each
from tests.service.server import Server, serving
from training import recipe as recipes

if TYPE_CHECKING:
    from tests.conftest import Trained

pytestmark = pytest.mark.slow
TOKENS = 12
every_recipe = pytest.mark.parametrize("name", each(recipes.names()))


@pytest.fixture(scope="module")
def hub(trained: "Trained", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over every recipe's model."""
    with serving(trained.store, tmp_path_factory.mktemp("hub")) as server:
        yield server


def by_torch(
    trained: "Trained", bundle: Bundle, verb_name: str, item: object, folder: Path
) -> dict[str, Any]:
    """The answer to one item without graph, padding, batch or server."""
    recipe, networks = trained.recipes[bundle.manifest.name]
    verb: Verb = bundle.manifest.verbs[verb_name]  # type: ignore[index]
    export = recipe.package(networks, folder).graphs[verb.graph]
    for_input, for_answer = verb.read_parameters({})
    encoded = bundle.encoder(verb_name)(item, for_input)
    inputs = [torch.tensor(encoded.tensors[key]) for key in export.sample(1)]
    with torch.no_grad():
        outputs = export.module.eval()(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    tensors = {key: value.numpy() for key, value in zip(export.outputs, outputs, strict=True)}
    return verb.answer.answer(tensors, encoded.context, for_answer)


def assert_same(served: Any, expected: Any) -> None:
    """Equal, but for the last digits of a number and a step of one in a pixel."""
    assert type(served) is type(expected)
    if isinstance(expected, dict):
        assert set(served) == set(expected)
        for key, value in expected.items():
            check = _assert_same_picture if key == "b64" else assert_same
            check(served[key], value)
    elif isinstance(expected, list):
        assert len(served) == len(expected)
        for one, other in zip(served, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert served == pytest.approx(expected, rel=1e-3, abs=1e-4)
    else:
        assert served == expected


def _assert_same_picture(served: str, expected: str) -> None:
    one, other = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), dtype=np.int16)
        for text in (served, expected)
    )
    assert np.abs(one - other).max() <= 1


@every_recipe
def test_served_answer_equals_torch_alone_and_in_company(
    trained: "Trained", hub: Server, name: str, tmp_path: Path
) -> None:
    bundle = Store(trained.store).open(name)
    for verb_name, verb in bundle.manifest.verbs.items():
        if bundle.manifest.graphs[verb.graph].decoding:
            continue  # said token by token: the next test's
        item = {"seed": 5} if verb.input.kind == "none" else verb.example
        expected = by_torch(trained, bundle, verb_name, item, tmp_path)
        alone = hub.predict(verb_name, name, item)
        assert alone.status_code == 200, alone.text
        assert_same(alone.json()["outputs"], [expected])
        with ThreadPoolExecutor(8) as pool:  # requests that meet in batches
            company = [
                pool.submit(hub.predict, verb_name, name, *[item] * (1 + place % 3))
                for place in range(16)
            ]
            for place, ask in enumerate(company):
                assert_same(ask.result().json()["outputs"], [expected] * (1 + place % 3))


@every_recipe
def test_an_explanation_adds_up_to_the_answer_wherever_there_is_one(
    trained: "Trained", hub: Server, name: str
) -> None:
    manifest = Store(trained.store).open(name).manifest
    item = manifest.main_verb[1].example
    body = {"inputs": [item], "parameters": {"rows": 64}}
    response = hub.client.post(f"/v1/models/{name}/explain", json=body)
    if manifest.explained is None:
        assert response.status_code in {409, 415, 422}
        return
    verb = manifest.verbs[manifest.explained]
    assert response.status_code == 200, response.text
    [found] = response.json()["outputs"]
    total = sum(part["contribution"] for part in found["contributions"])
    assert total == pytest.approx(found["value"] - found["baseline"], abs=1e-4)
    assert any(part["contribution"] for part in found["contributions"])
    if verb.answer.kind == "classes":
        [answer] = hub.predict(manifest.explained, name, item).json()["outputs"]
        assert found["target"] == answer["label"]
        assert found["value"] == pytest.approx(answer["score"], rel=1e-3, abs=1e-4)


@every_recipe
def test_served_text_equals_torch_alone_and_in_company(
    trained: "Trained", hub: Server, name: str, tmp_path: Path
) -> None:
    bundle = Store(trained.store).open(name)
    for verb_name, verb in bundle.manifest.verbs.items():
        if not bundle.manifest.graphs[verb.graph].decoding:
            continue
        expected = said_by_torch(trained, bundle, verb_name, tmp_path)
        url = f"/v1/models/{name}/{verb_name}"
        body = {
            "inputs": [verb.example],
            "parameters": {"max_tokens": TOKENS, "temperature": 0, "beams": 1},
        }
        alone = hub.client.post(url, json=body)
        assert alone.status_code == 200, alone.text
        assert alone.json()["outputs"][0]["text"] == expected
        with ThreadPoolExecutor(8) as pool:
            company = [pool.submit(hub.client.post, url, json=body) for _ in range(16)]
            for ask in company:
                assert ask.result().json()["outputs"] == alone.json()["outputs"]


def said_by_torch(trained: "Trained", bundle: Bundle, verb_name: str, folder: Path) -> str:
    """The likeliest next token, a few times over, each from the whole sequence so far."""
    recipe, networks = trained.recipes[bundle.manifest.name]
    verb: Verb = bundle.manifest.verbs[verb_name]  # type: ignore[index]
    graphs = recipe.package(networks, folder).graphs
    export = graphs[verb.graph]
    decoding, reference = export.decoding, export.reference
    assert decoding is not None
    assert reference is not None
    for_input, _ = verb.read_parameters({})
    tensors = bundle.encoder(verb_name)(verb.example, for_input).tensors
    given: dict[str, torch.Tensor] = {}
    said: list[int] = []
    start = list(decoding.start)
    with torch.no_grad():
        if decoding.source:
            reader = graphs[decoding.source.graph]
            read = reader.module.eval()(*(torch.tensor(tensors[key]) for key in reader.sample(1)))
            given = dict(zip(reader.outputs, read, strict=True))
            given[decoding.source.mask] = torch.tensor(tensors[decoding.source.mask])
        else:
            start += tensors["tokens"][0].tolist()
        while len(said) < TOKENS:
            logits = reference({**given, "tokens": torch.tensor([start + said])})
            token = int(logits[0, -1].argmax())
            if token in decoding.end:
                break
            said.append(token)
    tokenizer = Tokenizer.from_file(str(bundle.path(verb.answer.tokenizer)))  # type: ignore[union-attr]
    text: str = tokenizer.decode(start[len(decoding.start) :] + said)
    return text[len(tokenizer.decode(start[len(decoding.start) :])) :]


def test_hub_lists_every_recipe_with_its_scores(trained: "Trained", hub: Server) -> None:
    entries = {entry["id"]: entry for entry in hub.client.get("/v1/models").json()["data"]}
    assert set(entries) == set(trained.recipes)
    for name, entry in entries.items():
        kind = recipes.find(name)
        assert entry["state"] == "ready"
        assert (entry["family"], entry["category"], entry["task"]) == (
            kind.family,
            kind.category,
            kind.task,
        )
        assert entry["metrics"]
        assert hub.client.get(f"/v1/models/{name}").json()["card"]
