"""What of the pretrained network is taken over, and what of it may change."""

from typing import Any, Literal

import pytest
import torch

from training.recipe import find

Transfer = Literal["none", "features", "finetune"]


def recipe(transfer: Transfer, **settings: Any) -> Any:
    kind = find("cnn_classifier")
    config = kind.profiles["quick"].model_copy(
        update={**kind.smoke, "transfer": transfer, **settings}
    )
    made = kind(config)
    made.load(None)
    return made


@pytest.mark.parametrize("transfer", ["none", "features", "finetune"])
def test_each_kind_of_transfer_learns_is_judged_and_gives_one_graph(transfer: Transfer) -> None:
    made = recipe(transfer)
    torch.manual_seed(0)
    networks = made.build(0)
    classifier = networks["classifier"].train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    [(_, loss)] = made.step(networks, next(iter(made.batches(0, 0))))
    loss.backward()
    optimizer = made.optimizers(networks)["classifier"]
    optimizer.step()
    changed = {n for n, value in classifier.state_dict().items() if not value.equal(before[n])}
    learned = {name for name in changed if name.startswith("body.")}
    assert bool(learned) == (transfer != "features")
    classifier.eval()
    with torch.no_grad():
        found = made.evaluate([networks])
    assert {"accuracy", "balanced_accuracy", "accuracy_google"} <= set(found.metrics)
    assert {"frozen_features", "frozen_features_of_google_only"} <= set(found.baselines)
    assert ("from_scratch" in found.baselines) == (transfer != "none")
    package = made.package(networks, None)
    with torch.no_grad():
        chances, features = package.graphs["model"].module(made.pictures.test.images[:3])
    assert chances.shape == (3, 9)
    assert features.shape == (3, {"none": 128, "features": 1432, "finetune": 1280}[transfer])
    torch.testing.assert_close(chances.sum(1), torch.ones(3))


def test_what_is_seen_once_is_what_the_graph_sees() -> None:
    made = recipe("finetune")
    networks = made.build(0)
    classifier = networks["classifier"].eval()
    graph = made.package(networks, None).graphs["model"].module.eval()
    with torch.no_grad():
        scores, _ = classifier(made.given[0, :4].float())
        chances, _ = graph(made.pictures.train.images[:4])
    torch.testing.assert_close(scores.softmax(1), chances, atol=2e-3, rtol=2e-2)  # kept as float16


def test_a_class_that_is_rare_counts_more_and_not_without_bound() -> None:
    made = recipe("none")
    counts = torch.bincount(made.pictures.train.labels)
    assert made.balance[counts.argmin()] == made.balance.max()
    assert made.balance.max() / made.balance.min() == pytest.approx(
        float((counts.max() / counts.min()).sqrt())
    )
