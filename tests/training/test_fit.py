import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.toys import Quiet, Toy, ToyConfig, ToyGan, ToyRounds, config, same, train
from training.errors import BadConfig
from training.recipe import Config, Networks, OneShot

# --- learning ----------------------------------------------------------------------------------


def test_the_loss_falls_and_the_network_learns() -> None:
    recipe = Toy(config(epochs=8, dropout=0.0))
    fitted = train(recipe)
    losses = fitted.history.losses["classifier"]
    assert len(losses) == len(fitted.history.validation) == fitted.history.epoch == 8
    assert losses[-1] < losses[0] / 2
    assert recipe.evaluate([fitted.networks]).metrics["accuracy"] > 0.9


def test_the_losses_of_a_seeded_run_are_these() -> None:
    """A change of any of them means that every model trained from now on is another one."""
    losses = train(Toy(config())).history.losses["classifier"]
    assert losses == pytest.approx([0.706373, 0.331235, 0.319921, 0.183022], abs=1e-4)


def test_what_comes_back_is_ready_to_answer() -> None:
    [network] = train(Toy(config())).networks.values()
    assert not any(module.training for module in network.modules())
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_progress_hears_of_every_step() -> None:
    progress = Quiet()
    train(Toy(config(epochs=3)), progress=progress)
    assert progress.starts == [("", 3 * 5)]
    assert len(progress.losses) == 3 * 5
    [note] = progress.notes
    assert note.startswith("best epoch ")


def test_a_fold_is_named_where_there_are_several() -> None:
    progress = Quiet()
    train(Toy(config(epochs=1, parts=3)), 1, progress=progress)
    assert progress.starts[0][0] == "fold 2/3"


# --- seeds -------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits() -> None:
    assert same(train(Toy(config(seed=3))), train(Toy(config(seed=3))))


@pytest.mark.parametrize("seed", [4, 2**32 - 1])
def test_another_seed_gives_another_model(seed: int) -> None:
    assert not same(train(Toy(config(seed=3))), train(Toy(config(seed=seed))))


def test_another_fold_starts_from_other_weights() -> None:
    class Still(Toy):
        def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
            return {}

        def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
            yield from ()

    assert not same(train(Still(config(parts=2)), 0), train(Still(config(parts=2)), 1))


# --- stopping ----------------------------------------------------------------------------------


class Scripted(Toy):
    """Its validation losses are given; what it had at each is kept."""

    def __init__(self, values: list[float], **settings: Any) -> None:
        super().__init__(config(epochs=len(values), **settings))
        self.values = values
        self.had: list[dict[str, Tensor]] = []

    def validate(self, networks: Networks, fold: int) -> float:
        state = networks["classifier"].state_dict()
        self.had.append({key: tensor.clone() for key, tensor in state.items()})
        assert not networks["classifier"].training
        assert not torch.is_grad_enabled()
        return self.values[len(self.had) - 1]


@pytest.mark.parametrize(
    ("values", "patience", "epochs", "best"),
    [
        ([3, 2, 1, 5, 5, 0, 0], 2, 5, 2),
        ([3, 2, 1, 5, 0, 5, 5], 2, 7, 4),
        ([1, 2, 3], 1, 2, 0),
        ([3, 2, 1], 1, 3, 2),
        ([1, 1, 1, 1], 2, 3, 0),  # as good is not better
        ([math.nan, 2, 3], 5, 3, 1),
        ([2, math.nan, 1], 5, 3, 2),
    ],
)
def test_it_stops_in_time_and_gives_back_the_best_epochs_weights(
    values: list[float], patience: int, epochs: int, best: int
) -> None:
    recipe = Scripted(values, patience=patience)
    fitted = train(recipe)
    assert fitted.history.epoch == epochs
    assert fitted.history.best_epoch == best
    state = fitted.networks["classifier"].state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in recipe.had[best].items())


def test_the_note_says_whether_it_stopped_early() -> None:
    progress = Quiet()
    train(Scripted([1, 2, 3, 4], patience=2), progress=progress)
    train(Scripted([2, 1], patience=2), progress=progress)
    assert progress.notes == [
        "stopped early, best epoch 1 of 3, validation 1.0000",
        "best epoch 2 of 2, validation 1.0000",
    ]


def test_rounds_of_a_library_stop_in_time_and_give_back_the_best_rounds_weights() -> None:
    progress = Quiet()
    fitted = train(ToyRounds([3, 1, 2, 2, 0], patience=2), progress=progress)
    shorter = train(ToyRounds([3, 1]))
    assert same(fitted, shorter)
    assert fitted.history.losses == {}
    assert progress.losses == [3, 1, 2, 2]
    assert progress.notes == ["stopped early, best round 2 of 4, validation 1.0000"]
    [network] = fitted.networks.values()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


# --- two networks ------------------------------------------------------------------------------


def test_two_networks_are_stepped_in_turn_and_the_second_loss_sees_the_first_step() -> None:
    recipe = ToyGan(Config(epochs=2, learning_rate=0.01))
    fitted = train(recipe)
    assert len(recipe.seen) == 2 * 3
    for turn in recipe.seen:
        assert not torch.equal(turn["before"], turn["after"])
    for turn, following in zip(recipe.seen, recipe.seen[1:], strict=False):
        # The generator's loss went back through the discriminator and left its weights alone.
        assert torch.equal(turn["after"], following["before"])
    assert set(fitted.history.losses) == {"generator", "discriminator"}
    assert all(len(losses) == 2 for losses in fitted.history.losses.values())


def test_networks_that_are_made_in_one_go_are_kept_as_they_were_built() -> None:
    class Ready(OneShot[ToyConfig], Toy):
        """Its weights are all there."""

        def build(self, fold: int) -> Networks:
            return {"ready": torch.nn.Linear(2, 2)}

    progress = Quiet()
    fitted = train(Ready(config()), progress=progress)
    assert progress.notes == ["made in one go"]
    assert fitted.history.losses == {}
    network = fitted.networks["ready"]
    assert isinstance(network, torch.nn.Linear)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.manual_seed(0)
    assert torch.equal(network.weight, torch.nn.Linear(2, 2).weight)


def test_a_network_without_an_optimizer_is_left_as_it_is() -> None:
    class Frozen(Toy):
        modes: list[bool]

        def build(self, fold: int) -> Networks:
            self.modes = []
            return {**super().build(fold), "eye": nn.BatchNorm1d(2)}

        def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
            only = {"classifier": networks["classifier"]}
            return super().optimizers(only)

        def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
            self.modes.append(networks["eye"].training)
            yield from super().step(networks, (networks["eye"](batch[0]), batch[1]))

    recipe = Frozen(config(average=0.5))
    eye = train(recipe).networks["eye"]
    assert set(recipe.modes) == {False}
    fresh = nn.BatchNorm1d(2).state_dict()
    assert all(torch.equal(tensor, fresh[key]) for key, tensor in eye.state_dict().items())


# --- averages ----------------------------------------------------------------------------------


class Watched(Toy):
    """Keeps the trained weights as they were after each step."""

    after: list[dict[str, Tensor]]

    def build(self, fold: int) -> Networks:
        self.after, self.network = [], super().build(fold)["classifier"]
        return {"classifier": self.network}

    def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
        yield from super().step(networks, batch)
        state = networks["classifier"].state_dict()
        self.after.append({key: tensor.clone() for key, tensor in state.items()})

    def validate(self, networks: Networks, fold: int) -> float:
        return -float(len(self.after))  # the last epoch is the best


def test_the_running_average_is_published_where_it_is_configured() -> None:
    recipe = Watched(config(average=0.8))
    published = train(recipe).networks["classifier"].state_dict()
    expected = dict(recipe.after[0])
    for count, state in enumerate(recipe.after[1:], start=1):
        decay = min(0.8, (1 + count) / (10 + count))
        for key, tensor in state.items():
            whole = not tensor.is_floating_point()
            expected[key] = tensor if whole else expected[key] * decay + tensor * (1 - decay)
    for key, tensor in published.items():
        torch.testing.assert_close(tensor, expected[key])
    assert not torch.equal(published["0.weight"], recipe.after[-1]["0.weight"])
    assert int(published["1.num_batches_tracked"]) == 20
    # The average has batch normalisation's statistics too, not only the weights.
    assert not torch.equal(published["1.running_mean"], recipe.after[-1]["1.running_mean"])


def test_without_an_average_the_last_weights_are_published() -> None:
    recipe = Watched(config(average=0.0))
    published = train(recipe).networks["classifier"].state_dict()
    assert all(torch.equal(published[key], tensor) for key, tensor in recipe.after[-1].items())


# --- optimisers --------------------------------------------------------------------------------


class Plain(Toy):
    """Two groups with rates of their own, and steps of exactly rate × gradient."""

    def build(self, fold: int) -> Networks:
        return {"classifier": nn.Linear(2, 2)}

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        weight, bias = networks["classifier"].parameters()
        rate = self.config.learning_rate
        groups = [{"params": [weight], "lr": rate}, {"params": [bias], "lr": rate / 10}]
        self.made = torch.optim.SGD(groups)
        return {"classifier": self.made}

    def learning_rate(self, progress: float) -> float:
        self.asked = [*getattr(self, "asked", []), progress]
        return 1 - progress


def test_the_schedule_is_asked_before_each_step_and_scales_every_group() -> None:
    recipe = Plain(config(epochs=2))
    train(recipe)
    assert recipe.asked == pytest.approx([step / 10 for step in range(10)])
    rates = [group["lr"] for group in recipe.made.param_groups]
    assert rates == pytest.approx([0.05 * 0.1, 0.005 * 0.1])


def test_a_large_gradient_is_cut_to_the_norm() -> None:
    class Steep(Plain):
        def step(self, networks: Networks, batch: Any) -> Iterator[tuple[str, Tensor]]:
            for name, loss in super().step(networks, batch):
                before = [p.detach().clone() for p in networks[name].parameters()]
                yield name, loss * 1e6
                moves = [
                    (p.detach() - b) / group["lr"]
                    for p, b, group in zip(
                        networks[name].parameters(), before, self.made.param_groups, strict=True
                    )
                ]
                self.norm = float(torch.cat([move.flatten() for move in moves]).norm())

    recipe = Steep(config(clip_norm=0.5, epochs=1))
    train(recipe)
    assert recipe.norm == pytest.approx(0.5, rel=1e-3)


# --- devices -----------------------------------------------------------------------------------

PROCESS = """
import json, os, sys
import torch
import training.fit
from pathlib import Path
from tests.training.toys import Quiet, Toy, ToyConfig
from training.fit import fit

torch.set_num_threads(1)
if os.environ["RANK"] == "1":  # its clock runs ahead: it finds a checkpoint due after each epoch
    training.fit.CHECKPOINT_EVERY_S = 0.0
recipe, progress = Toy(ToyConfig(epochs=30, patience=2, learning_rate=0.05, batch_size=24)), Quiet()
recipe.load(None)
fitted = fit(recipe, 0, device="cpu", progress=progress, checkpoint=Path(sys.argv[1]) / "run")
state = fitted.networks["classifier"].state_dict()
rank = torch.distributed.get_rank()
facts = [progress.starts[0][1], len(progress.losses), fitted.history.validation,
         {key: tensor.tolist() for key, tensor in state.items() if "running" not in key}]
(Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps(facts))
"""


@pytest.mark.slow
def test_two_processes_share_the_batches_and_agree_on_weights_and_when_to_stop(
    tmp_path: Path,
) -> None:
    (tmp_path / "process.py").write_text(PROCESS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[2])
    alone = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    subprocess.run(
        [*launch, str(tmp_path / "process.py"), str(tmp_path)],
        check=True, timeout=120, capture_output=True,
        env={**os.environ, **alone},
    )  # fmt: skip
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    planned, done, validation, _ = first
    assert planned == 30 * 6
    assert done == len(validation) * 6  # both halves of each epoch
    assert len(validation) < 30  # it did stop early, and neither waits for the other


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_cuda_device_that_is_not_there_is_refused_not_replaced() -> None:
    with pytest.raises(BadConfig, match="--device cuda: "):
        train(Toy(config()), device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_cuda_device_learns_what_the_cpu_learns() -> None:
    there, here = (train(Toy(config()), device=device) for device in ("cuda", "cpu"))
    assert there.history.validation[-1] == pytest.approx(here.history.validation[-1], rel=0.05)
    devices = {p.device.type for network in there.networks.values() for p in network.parameters()}
    assert devices == {"cpu"}
