"""What every recipe must do. A new one is here as soon as its file is."""

import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
import torch
from accelerate.utils import set_seed

import training.recipes
from model_store.inputs import InputSpec
from model_store.inputs.audio import AudioInput
from model_store.inputs.image import ImageInput
from model_store.inputs.series import SeriesInput
from model_store.manifest import Category, Draft, Family, Graph, Manifest, Verb
from model_store.spec import Tensors
from model_store.store import NAME, Store
from tests.conftest import each
from training import continuing
from training import recipe as recipes
from training.parity import run
from training.recipe import Config, GraphExport, Networks, OneShot, Recipe, Settings
from training.starter import STARTER

if TYPE_CHECKING:
    from tests.conftest import Trained

FOUND = recipes.names()
every_recipe = pytest.mark.parametrize("name", each(FOUND))
LEARNING = [name for name in FOUND if not issubclass(recipes.find(name), OneShot)]
every_learning_recipe = pytest.mark.parametrize("name", each(LEARNING))


OwnData = Callable[[str], Path | None]


def quick(name: str, own_data: OwnData, **settings: Any) -> Recipe[Any]:
    """The recipe in its quick profile, made as small as tests need it, with its data read."""
    kind = recipes.find(name)
    recipe = kind(kind.profiles["quick"].model_copy(update={**kind.smoke, **settings}))
    recipe.load(own_data(name))
    return recipe


# --- without training --------------------------------------------------------------------------


def test_every_file_is_a_recipe() -> None:
    files = Path(str(training.recipes.__file__)).parent.glob("*.py")
    assert {path.stem for path in files} - {"__init__"} == set(FOUND)
    assert len(FOUND) >= 8
    assert len(LEARNING) >= 6


def test_the_starter_set_has_one_recipe_of_each_family() -> None:
    assert set(STARTER) <= set(FOUND)
    families = [recipes.find(name).family for name in STARTER]
    assert len(set(families)) == len(families)


@every_recipe
def test_a_recipe_says_what_it_is(name: str) -> None:
    kind = recipes.find(name)
    assert NAME.fullmatch(name)
    assert kind.family in typing.get_args(Family)
    assert kind.category in typing.get_args(Category)
    assert NAME.fullmatch(kind.task), "a task is a name, as clients filter by it"
    for words in (kind.description, kind.data_formats):
        assert len(words) > 20
        assert words == words.strip()
    assert kind.__doc__


@every_recipe
def test_a_recipe_has_both_profiles_of_one_config(name: str) -> None:
    profiles = recipes.find(name).profiles
    assert set(profiles) == {"quick", "full"}
    [config] = {type(profile) for profile in profiles.values()}
    assert issubclass(config, Config if name in LEARNING else Settings)
    for profile in profiles.values():
        assert config.model_validate_json(profile.model_dump_json()) == profile


@every_recipe
def test_every_setting_of_a_recipe_is_explained(name: str) -> None:
    fields = type(recipes.find(name).profiles["quick"]).model_fields
    assert [key for key, field in fields.items() if not field.description] == []


@every_recipe
def test_a_test_changes_only_settings_that_there_are(name: str) -> None:
    kind = recipes.find(name)
    config = kind.profiles["quick"]
    changed = config.model_copy(update=kind.smoke).model_dump()
    assert type(config).model_validate(changed).model_dump() == changed


ERRORS = ("error", "rmse", "bits", "distance", "loss", "brier", "entropy")


@every_recipe
def test_headline_metric_is_better_when_lower_only_if_it_is_an_error(
    trained: "Trained", name: str
) -> None:
    headline = next(iter(Store(trained.store).open(name).manifest.metrics))
    assert recipes.find(name).lower_is_better == any(word in headline for word in ERRORS)


# --- learning ----------------------------------------------------------------------------------


@every_learning_recipe
def test_two_dozen_steps_lower_the_loss_on_one_batch(name: str, own_data: OwnData) -> None:
    """Of several networks that learn from one another, the loss of one at least."""
    recipe = quick(name, own_data)
    set_seed(0)
    networks = recipe.build(0)
    optimizers = recipe.optimizers(networks)
    batch = next(iter(recipe.batches(0, 0)))
    losses: dict[str, list[float]] = {key: [] for key in optimizers}
    for _ in range(24):
        for key, loss in recipe.step(networks, batch):
            optimizers[key].zero_grad()
            torch.autograd.backward(loss)
            optimizers[key].step()
            losses[key].append(float(loss.detach()))
    assert all(len(values) == 24 for values in losses.values()), "each network is stepped"
    assert np.isfinite(list(losses.values())).all()
    assert any(np.mean(values[-4:]) < np.mean(values[:4]) for values in losses.values())


@every_learning_recipe
def test_batches_are_as_many_as_said_and_the_same_each_time(name: str, own_data: OwnData) -> None:
    recipe = quick(name, own_data)
    for fold in range(recipe.folds):
        first = list(recipe.batches(fold, 0))
        assert len(first) == recipe.steps(fold) > 0
        torch.rand(3)  # whatever else draws numbers in between
        for one, other in zip(first, recipe.batches(fold, 0), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(_flat(one), _flat(other), strict=True))
        following = next(iter(recipe.batches(fold, 1)))
        same = [torch.equal(a, b) for a, b in zip(_flat(first[0]), _flat(following), strict=True)]
        assert not all(same), "another epoch, another order"


def _flat(batch: Any) -> list[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        return [batch]
    parts = batch.values() if isinstance(batch, dict) else batch
    return [tensor for part in parts for tensor in _flat(part)]


# --- publishing --------------------------------------------------------------------------------


@every_recipe
def test_a_recipe_publishes_a_bundle_that_verifies(trained: "Trained", name: str) -> None:
    bundle = Store(trained.store).open(name)
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.family == recipes.find(name).family
    assert manifest.metrics
    assert all(values.keys() <= manifest.metrics.keys() for values in manifest.baselines.values())
    assert manifest.baselines, "a score says little without one to compare it with"
    assert len(manifest.evaluation) > 20
    assert manifest.provenance
    assert manifest.provenance.data
    assert manifest.provenance.data_license
    assert "card.md" in manifest.files
    assert ("learning_curve.png" in manifest.files) == (name in LEARNING)
    assert ("weights.safetensors" in manifest.files) == (name in LEARNING)
    assert manifest.provenance.weights == recipes.find(name).weights
    assert manifest.provenance.weights_license or manifest.provenance.weights == "from scratch"
    assert Draft.model_fields.keys() < Manifest.model_fields.keys()


LEARNS_TOKENS: dict[str, dict[str, Any]] = {
    "rnn_translator": {"vocabulary": 300},
    "rnn_writer": {"vocabulary": 300},
    "transformer_sentiment": {"vocabulary": 300},
    "transformer_speller": {"pairs": 40},
    "transformer_translator": {"vocabulary": 300},
    "transformer_writer": {"vocabulary": 300},
}
"""Recipes whose tokens are learned → settings with which they would learn others."""


def test_recipes_that_learn_their_tokens_are_known(trained: "Trained") -> None:
    store = Store(trained.store)
    scratch = [name for name in trained.recipes if recipes.find(name).weights == "from scratch"]
    files = {name: store.open(name).manifest.files for name in scratch}
    assert {n for n, f in files.items() if any(file.endswith(".json") for file in f)} == set(
        LEARNS_TOKENS
    )


@pytest.mark.parametrize("name", LEARNS_TOKENS)
def test_training_from_an_earlier_version_keeps_its_tokens(
    trained: "Trained", name: str, tmp_path: Path
) -> None:
    """Its weights are for these very tokens."""
    bundle = Store(trained.store).open(name)
    kind = recipes.find(name)
    settings = {**kind.smoke, **LEARNS_TOKENS[name]}
    recipe = kind(kind.profiles["quick"].model_copy(update=settings))
    recipe.take_over(bundle)
    recipe.load(None)
    recipe.package(recipe.build(0), tmp_path)
    tokens = [file for file in bundle.manifest.files if file.endswith(".json")]
    for file in tokens:
        assert (tmp_path / file).read_bytes() == bundle.path(file).read_bytes()


@every_recipe
def test_every_number_of_rows_and_every_length_is_a_named_axis(
    trained: "Trained", name: str
) -> None:
    for graph in Store(trained.store).open(name).manifest.graphs.values():
        assert {tensor.shape[0] for tensor in (*graph.inputs, *graph.outputs)} == {"batch"}
        labels = {axis for tensor in graph.inputs for axis in tensor.shape if isinstance(axis, str)}
        assert set(graph.batching.pad) <= labels - {"batch"}


@every_recipe
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_published_graphs_answer_as_torch_does(
    trained: "Trained", name: str, rows: int, tmp_path: Path
) -> None:
    recipe, networks = trained.recipes[name]
    bundle = Store(trained.store).open(name)
    for key, export in recipe.package(networks, tmp_path).graphs.items():
        graph = bundle.manifest.graphs[key]
        sample = export.sample(min(rows, graph.batching.max_rows))
        session = onnxruntime.InferenceSession(bundle.path(graph.file))
        feeds = {tensor: value.numpy() for tensor, value in sample.items()}
        names = [output.name for output in session.get_outputs()]
        assert names == list(export.outputs)
        got = dict(zip(names, session.run(names, feeds), strict=True))
        for tensor, expected in _torch(export, sample).items():
            atol = 1 if expected.dtype == np.uint8 else export.tolerance
            np.testing.assert_allclose(
                got[tensor].astype(float), expected.astype(float), atol=atol, rtol=export.tolerance
            )


def _torch(export: GraphExport, sample: dict[str, torch.Tensor]) -> Tensors:
    """All outputs; of a graph that is run token by token, the logits of the whole sequences."""
    with torch.no_grad():
        if export.decoding and export.reference:
            return {export.decoding.logits: export.reference(sample).numpy()}
        outputs = export.module.eval()(*sample.values())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return {key: value.numpy() for key, value in zip(export.outputs, outputs, strict=True)}


@every_recipe
def test_every_verb_answers_its_example_and_fits_its_graph(
    trained: "Trained", name: str, tmp_path: Path
) -> None:
    bundle = Store(trained.store).open(name)
    graphs = bundle.manifest.graphs
    sessions = {
        key: onnxruntime.InferenceSession(bundle.path(graph.file)) for key, graph in graphs.items()
    }
    recipe, networks = trained.recipes[name]
    package = recipe.package(networks, tmp_path)
    for verb_name, verb in bundle.manifest.verbs.items():
        for_input, for_answer = verb.read_parameters({})
        encoded = bundle.encoder(verb_name)(verb.example, for_input)
        _assert_fits(encoded.tensors, graphs[_reader(graphs, verb)])
        context = encoded.context
        if graphs[verb.graph].decoding:
            rows, context = continuing.write(verb, package, sessions, encoded.tensors, tmp_path)
            assert context["text"] or not rows["tokens"].size
        else:
            rows = run(sessions[verb.graph], encoded.tensors)
        assert verb.answer.answer(rows, context, for_answer)


def flat(spec: InputSpec) -> object:
    """What a covered lens, a dead sensor or a silent microphone sends; None for other kinds."""
    if isinstance(spec, SeriesInput):
        return [[1.0] * len(spec.columns)] * spec.length
    if isinstance(spec, AudioInput):
        return {"samples": [0.0] * 8000, "sample_rate": 8000}
    return [[0] * 8] * 8 if isinstance(spec, ImageInput) else None


@every_recipe
def test_a_dead_sensor_gets_numbers(trained: "Trained", name: str) -> None:
    bundle = Store(trained.store).open(name)
    for verb_name, verb in bundle.manifest.verbs.items():
        graph = bundle.manifest.graphs[verb.graph]
        item = flat(verb.input)
        if item is None or graph.decoding:
            continue
        for_input, _ = verb.read_parameters({})
        tensors = bundle.encoder(verb_name)(item, for_input).tensors
        session = onnxruntime.InferenceSession(bundle.path(graph.file))
        for output in run(session, tensors).values():
            assert np.isfinite(output).all(), verb_name


def _reader(graphs: Mapping[str, Graph], verb: Verb) -> str:
    """The graph that an item goes to first."""
    decoding = graphs[verb.graph].decoding
    return decoding.source.graph if decoding and decoding.source else verb.graph


def _assert_fits(tensors: Tensors, graph: Graph) -> None:
    """All the graph's inputs are there; one that is run token by token gets its tokens only."""
    wanted = {graph.decoding.tokens} if graph.decoding else {t.name for t in graph.inputs}
    assert wanted <= set(tensors)
    for tensor in graph.inputs:
        if tensor.name in wanted:
            array = tensors[tensor.name]
            assert array.dtype.name == tensor.dtype
            sizes = zip(array.shape, tensor.shape, strict=True)
            assert all(have == want for have, want in sizes if isinstance(want, int))


@every_recipe
def test_the_networks_that_are_kept_are_those_that_were_published(
    trained: "Trained", name: str
) -> None:
    networks: Networks = trained.recipes[name][1]
    assert networks
    for network in networks.values():
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert {parameter.device.type for parameter in network.parameters()} <= {"cpu"}
