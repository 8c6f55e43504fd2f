from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from model_store.errors import BadName
from model_store.manifest import Manifest
from model_store.store import Store
from tests.training.toys import Quiet, Toy, ToyConfig, ToyGan
from training import fit as fit_module
from training.errors import BadConfig, DataError, ParityError, WorseScore
from training.pipeline import Order, run
from training.recipe import Evaluation, Networks, Package, Recipe
from training.weights import open_start


def config(**settings: Any) -> ToyConfig:
    return ToyConfig(**{"epochs": 2, "learning_rate": 0.05, "batch_size": 32, **settings})


def order(root: Path, **parts: Any) -> Order:
    words: dict[str, Any] = {"name": "toy_faults", "profile": "quick", "publish_as": "toy"}
    return Order(store=root, **words | parts)


class Published(NamedTuple):
    """A finished run."""

    store: Store
    recipe: "Keeping"
    manifest: Manifest
    progress: Quiet


class Keeping(Toy):
    """Keeps what the pipeline handed it."""

    evaluated: Sequence[Networks] = ()
    packaged: Networks

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        self.evaluated = fitted
        return super().evaluate(fitted)

    def package(self, networks: Networks, folder: Path) -> Package:
        self.packaged = networks
        return super().package(networks, folder)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    root = tmp_path_factory.mktemp("models")
    recipe, progress = Keeping(config(parts=2, seed=3, dropout=0.5)), Quiet()
    manifest = run(order(root), recipe, progress)
    assert manifest
    return Published(Store(root), recipe, manifest, progress)


# --- what is published -------------------------------------------------------------------------


def test_a_run_ends_in_a_version_that_verifies(published: Published) -> None:
    bundle = published.store.open("toy@1")
    bundle.verify()
    assert bundle.manifest == published.manifest
    assert sorted(bundle.manifest.files) == [
        "a_line.png", "card.md", "labels.txt", "learning_curve.png", "model.onnx",
        "weights.safetensors",
    ]  # fmt: skip


def test_whoever_may_read_a_bundles_manifest_may_read_all_of_it(learned: Path) -> None:
    """A server may run as another user than the trainer."""
    [manifest] = learned.glob("*/1/manifest.json")
    modes = {path.name: oct(path.stat().st_mode) for path in manifest.parent.iterdir()}
    assert "weights.safetensors" in modes
    assert set(modes.values()) == {modes["manifest.json"]}


def test_the_manifest_has_the_recipes_facts(published: Published) -> None:
    manifest = published.manifest
    assert (manifest.name, manifest.version) == ("toy", 1)
    assert (manifest.family, manifest.category, manifest.task) == (
        Toy.family, Toy.category, Toy.task,
    )  # fmt: skip
    assert manifest.description == Toy.description
    assert list(manifest.verbs) == ["predict"]
    assert manifest.evaluation == "40 rows held out"
    assert list(manifest.metrics) == ["accuracy", "folds"]
    assert manifest.baselines.keys() == {"majority_class"}
    assert manifest.parity["model"].rows == (1, 3, 64)


def test_the_manifest_has_what_it_takes_to_make_the_model_again(published: Published) -> None:
    origin = published.manifest.provenance
    assert origin
    assert (origin.recipe, origin.profile, origin.seed) == ("toy_faults", "quick", 3)
    assert ToyConfig.model_validate(origin.config) == published.recipe.config
    assert (origin.data, origin.data_license) == ("made up", "CC0-1.0")
    assert {"torch", "onnxruntime", "modelhub"} <= origin.packages.keys()


def test_the_card_has_the_scores_and_the_baselines(published: Published) -> None:
    card = published.store.open("toy").path("card.md").read_text(encoding="utf-8")
    manifest = published.manifest
    assert f"| this model | {manifest.metrics['accuracy']:.4g} | 2 |" in card
    assert (
        f"| majority class | {manifest.baselines['majority_class']['accuracy']:.4g} | – |" in card
    )
    assert "![a line](a_line.png)" in card


def test_every_fold_is_scored_and_the_last_is_published(published: Published) -> None:
    recipe = published.recipe
    assert len(recipe.evaluated) == 2
    assert published.manifest.metrics["folds"] == 2
    assert recipe.packaged is recipe.evaluated[-1]
    assert published.progress.starts == [("fold 1/2", 10), ("fold 2/2", 10)]


def test_the_graph_answers_as_the_network_does(published: Published) -> None:
    bundle = published.store.open("toy")
    encoded = bundle.encoder("predict")({"a": 0.25, "b": -1}, None)
    session = onnxruntime.InferenceSession(bundle.path("model.onnx"))
    [got] = session.run(None, encoded.tensors)
    network = nn.Sequential(published.recipe.packaged["classifier"], nn.Softmax(1))
    expected = network(torch.tensor([[0.25, -1.0]])).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_last_word_is_what_was_published_beside_its_baselines(published: Published) -> None:
    manifest = published.manifest
    assert published.progress.words == [
        f"published toy@1: accuracy {manifest.metrics['accuracy']:.4g} (baselines:"
        f" majority class {manifest.baselines['majority_class']['accuracy']:.4g})"
    ]


def test_nothing_else_is_left_in_the_store(published: Published) -> None:
    assert [path.name for path in published.store.root.iterdir()] == ["toy"]
    left = {path.name for path in (published.store.root / "toy").iterdir()}
    assert {name for name in left if name != ".lock"} == {"1"}


def test_two_networks_and_a_graph_of_another_name_are_published_alike(tmp_path: Path) -> None:
    config = ToyGan.profiles["quick"]
    manifest = run(order(tmp_path, publish_as="squares"), ToyGan(config), Quiet())
    assert manifest
    assert list(manifest.graphs) == ["generator"]
    bundle = Store(tmp_path).open("squares")
    bundle.verify()
    encode = bundle.encoder("generate")
    for_input, for_answer = bundle.manifest.verbs["generate"].read_parameters({"seed": 5, "n": 2})
    encoded = encode({}, for_input)
    session = onnxruntime.InferenceSession(bundle.path("generator.onnx"))
    rows = {"image": session.run(None, encoded.tensors)[0]}
    answer = bundle.manifest.verbs["generate"].answer.answer(rows, encoded.context, for_answer)
    assert [image["seed"] for image in answer["images"]] == [5, 6]


# --- what is not -------------------------------------------------------------------------------


class Unevaluated(Toy):
    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        raise DataError("no test rows")


class NotANumber(Toy):
    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        return Evaluation({"accuracy": float("nan")}, {}, "nothing")


class Unpackaged(Toy):
    def package(self, networks: Networks, folder: Path) -> Package:
        (folder / "half.bin").write_bytes(b"half")
        raise DataError("half a package")


class Leaky(Toy):
    """Its answer to a row depends on the batch."""

    def served(self, network: nn.Module) -> nn.Module:
        return nn.Sequential(network, nn.Softmax(0))


class BadExample(Toy):
    def package(self, networks: Networks, folder: Path) -> Package:
        package = super().package(networks, folder)
        verb = package.verbs["predict"].model_copy(update={"example": {"a": 1}})
        return Package(package.graphs, {"predict": verb})


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (Unevaluated, DataError, "no test rows"),
        (NotANumber, DataError, "accuracy is nan on nothing: no score to publish"),
        (Unpackaged, DataError, "half a package"),
        (Leaky, ParityError, "row 0 alone"),
        (BadExample, ParityError, "its example is refused"),
    ],
)
def test_nothing_is_published_when_a_stage_fails(
    tmp_path: Path, kind: type[Recipe[Any]], error: type[Exception], words: str
) -> None:
    progress = Quiet()
    with pytest.raises(error, match=words):
        run(order(tmp_path), kind(config()), progress)
    assert Store(tmp_path).names() == []
    assert list(tmp_path.rglob(".staging-*")) == []
    assert progress.words == []


def test_a_failed_run_publishes_nothing_over_what_was_there(tmp_path: Path) -> None:
    run(order(tmp_path), Toy(config()), Quiet())
    with pytest.raises(DataError):
        run(order(tmp_path), Unevaluated(config()), Quiet())
    assert Store(tmp_path).versions("toy") == [1]
    Store(tmp_path).open("toy").verify()


def test_a_bad_name_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    progress = Quiet()
    with pytest.raises(BadName):
        run(order(tmp_path / "models", publish_as="../toy"), Toy(config()), progress)
    assert progress.starts == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_failed_late_is_resumed_without_training_again(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(order(tmp_path), Unevaluated(config()), Quiet())
    progress = Quiet()
    assert run(order(tmp_path, resume=True), Toy(config()), progress)
    assert progress.losses == []


@pytest.mark.parametrize("other", [{"hidden": 4}, {"seed": 1}])
def test_another_config_never_goes_on_from_these_weights(
    tmp_path: Path, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_EVERY_S", -1.0)
    for broken in (config(), config(**other)):
        progress = Quiet(stop_after=7)
        with pytest.raises(KeyboardInterrupt):
            run(order(tmp_path, resume=True), Toy(broken), progress)
        assert progress.starts == [("", 10)]  # from the beginning
    progress = Quiet(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        run(order(tmp_path, resume=True), Toy(config()), progress)
    assert progress.starts == [("", 5)]  # each has its own checkpoint still


# --- from an earlier version -------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a version that is as good as this recipe gets."""
    root = tmp_path_factory.mktemp("learned")
    run(order(root), Toy(config(epochs=12)), Quiet())
    return root


def test_training_goes_on_where_an_earlier_version_ended(learned: Path) -> None:
    fresh, warm = Quiet(), Quiet()
    slow = config(epochs=1, learning_rate=1e-6)
    run(order(learned, publish_as="fresh"), Toy(slow), fresh)
    made = run(order(learned, publish_as="warm", start="toy@1"), Toy(slow), warm)

    assert np.mean(warm.losses) < 0.7 * np.mean(fresh.losses)
    assert made
    assert made.provenance
    assert (made.provenance.start, made.provenance.weights) == ("toy@1", "from scratch")
    card = Store(learned).open("warm").path("card.md").read_text(encoding="utf-8")
    assert "--seed 0 --from toy@1` in " in card


def test_layer_for_other_shapes_begins_afresh_and_the_rest_goes_on(learned: Path) -> None:
    start = open_start(Store(learned).open("toy"))
    [network] = Toy(config()).build(0).values()
    assert isinstance(network, nn.Sequential)
    assert start.give({"classifier": network}) == []
    wider = nn.Sequential(nn.Linear(2, 8), network[1], network[2], network[3], nn.Linear(8, 3))
    assert start.give({"classifier": wider}) == ["classifier/4.weight", "classifier/4.bias"]
    for key, tensor in network[:-1].state_dict().items():
        assert torch.equal(wider.state_dict()[key], tensor)


def test_weights_that_fit_nowhere_are_refused(learned: Path) -> None:
    with pytest.raises(
        DataError, match="expected weights of the shapes that these settings ask for; it has"
    ):
        run(order(learned, start="toy"), Toy(config(hidden=31)), Quiet())


def test_another_recipes_weights_are_refused(learned: Path) -> None:
    with pytest.raises(BadConfig, match="expected a version made by other; got toy_faults"):
        run(order(learned, name="other", start="toy"), Toy(config()), Quiet())


def test_model_without_weights_is_no_start(learned: Path) -> None:
    bundle = Store(learned).open("toy")
    plain = learned / "plain" / "1"
    plain.mkdir(parents=True)
    (plain / "model.onnx").write_bytes(bundle.path("model.onnx").read_bytes())
    with pytest.raises(DataError, match=r"plain@1: expected a bundle with weights\.safetensors"):
        run(order(learned, start="plain"), Toy(config()), Quiet())


def test_start_that_has_seen_what_is_held_out_is_refused(learned: Path) -> None:
    with pytest.raises(BadConfig, match=r"--seed 1: expected 0, as toy@1 has; another seed may"):
        run(order(learned, start="toy"), Toy(config(seed=1)), Quiet())
    with pytest.raises(BadConfig, match=r"all but the last of 2 folds are scored on; give other"):
        run(order(learned, start="toy"), Toy(config(parts=2)), Quiet())


def test_start_on_the_users_own_data_says_what_may_overlap(learned: Path, tmp_path: Path) -> None:
    rows = [f"{place % 7 - 3},{place % 5 - 2}" for place in range(240)]
    (tmp_path / "mine.csv").write_text("\n".join(["a,b", *rows]))
    wish = order(learned, publish_as="mine", start="toy", data=tmp_path / "mine.csv")
    made = run(wish, Toy(config(seed=1)), Quiet())
    assert made
    assert "started from toy@1: where these data overlap" in made.evaluation


class Restricted(Toy):
    """Learns from data that are not for all uses, unless the user gives others."""

    def load(self, data: Path | None) -> None:
        super().load(data)
        if data is None:
            self.license = "CC-BY-NC-4.0"


def test_what_was_learned_under_a_stricter_licence_stays_under_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("\n".join(["a,b", *["1,2", "-1,-2"] * 120]))
    run(order(tmp_path / "models"), Restricted(config()), Quiet())
    own = order(tmp_path / "models", publish_as="mine", data=tmp_path / "mine.csv")
    alone = run(own, Restricted(config()), Quiet())
    later = run(replace(own, start="toy@1"), Restricted(config()), Quiet())
    assert alone
    assert later
    assert (alone.license, later.license) == ("Apache-2.0", "CC-BY-NC-4.0")


# --- never worse than what is served -----------------------------------------------------------


class Worse(Toy):
    """Scores as if it had learned nothing."""

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        return replace(super().evaluate(fitted), metrics={"accuracy": 0.5})


class Error(Toy):
    """As Worse is, but that its metric is better when lower."""

    lower_is_better = True
    value = 0.5

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        return replace(super().evaluate(fitted), metrics={"accuracy": self.value})


def test_version_that_scores_worse_than_the_served_one_is_not_published(tmp_path: Path) -> None:
    run(order(tmp_path), Toy(config()), Quiet())
    words = (
        r"accuracy 0\.5, and .* of toy@1 on what the same seed holds out .*; nothing is published"
    )
    with pytest.raises(WorseScore, match=words):
        run(order(tmp_path), Worse(config()), Quiet())
    assert Store(tmp_path).versions("toy") == [1]

    forced = Quiet()
    assert run(order(tmp_path, resume=True, force=True), Worse(config()), forced)
    assert forced.losses == [], "nothing is trained again"
    assert Store(tmp_path).versions("toy") == [1, 2]


def test_served_version_is_the_stable_one_not_the_newest(tmp_path: Path) -> None:
    run(order(tmp_path), Worse(config()), Quiet())
    run(order(tmp_path), Toy(config()), Quiet())
    Store(tmp_path).set_alias("toy", "stable", 1)
    assert run(order(tmp_path), Worse(config()), Quiet())


def test_scores_of_other_splits_are_not_compared(tmp_path: Path) -> None:
    run(order(tmp_path), Toy(config()), Quiet())
    assert run(order(tmp_path), Worse(config(seed=1)), Quiet())


def test_error_that_grew_is_worse(tmp_path: Path) -> None:
    run(order(tmp_path), Error(config()), Quiet())
    recipe = Error(config())
    recipe.value = 0.6
    with pytest.raises(WorseScore, match=r"accuracy 0\.6, and 0\.5 of toy@1"):
        run(order(tmp_path), recipe, Quiet())
    recipe.value = 0.4
    assert run(order(tmp_path), recipe, Quiet())
