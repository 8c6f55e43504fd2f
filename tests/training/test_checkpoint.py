"""A run that was broken off and goes on ends as if it had never stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.toys import Quiet, Toy, ToyGan, ToyRounds, config, same, train
from training import fit as fit_module
from training.fit import History
from training.recipe import Config


@pytest.fixture
def each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each epoch, however short."""
    monkeypatch.setattr(fit_module, "CHECKPOINT_EVERY_S", -1.0)


@pytest.mark.usefixtures("each_epoch")
@pytest.mark.parametrize("stop_after", [3, 5, 12, 19])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_run_broken_off_and_resumed_ends_in_the_same_bits(
    tmp_path: Path, stop_after: int, average: float
) -> None:
    settings = {"epochs": 5, "average": average, "dropout": 0.5}
    whole = train(Toy(config(**settings)), checkpoint=tmp_path / "whole")
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(Toy(config(**settings)), checkpoint=folder, progress=Quiet(stop_after))
    torch.rand(7)  # whatever else draws numbers in between
    progress = Quiet()
    resumed = train(Toy(config(**settings)), checkpoint=folder, progress=progress, resume=True)
    assert same(resumed, whole)
    assert resumed.history.losses == whole.history.losses
    assert resumed.history.validation == whole.history.validation
    epochs_done = (stop_after - 1) // 5
    assert progress.starts == [("", 25 - epochs_done * 5)]
    assert len(progress.losses) == progress.starts[0][1]


@pytest.mark.usefixtures("each_epoch")
def test_two_networks_are_resumed_like_one(tmp_path: Path) -> None:
    whole = train(ToyGan(Config(epochs=4, learning_rate=0.01)))
    with pytest.raises(KeyboardInterrupt):
        train(
            ToyGan(Config(epochs=4, learning_rate=0.01)),
            checkpoint=tmp_path / "gan",
            progress=Quiet(7),
        )
    gan = ToyGan(Config(epochs=4, learning_rate=0.01))
    assert same(train(gan, checkpoint=tmp_path / "gan", resume=True), whole)
    assert len(gan.seen) == 2 * 3  # only the last two epochs were run again


@pytest.mark.usefixtures("each_epoch")
def test_rounds_of_a_library_are_resumed_like_epochs(tmp_path: Path) -> None:
    values = [4.0, 2.0, 3.0, 1.0, 2.0]
    whole = train(ToyRounds(values))
    with pytest.raises(KeyboardInterrupt):
        train(ToyRounds(values), checkpoint=tmp_path / "run", progress=Quiet(4))
    progress, recipe = Quiet(), ToyRounds(values)
    resumed = train(recipe, checkpoint=tmp_path / "run", progress=progress, resume=True)
    assert same(resumed, whole)
    assert resumed.history.validation == values
    assert recipe.rounds_done == [3, 4]
    assert progress.starts == [("", 2)]


@pytest.mark.usefixtures("each_epoch")
def test_a_run_broken_off_while_it_saves_goes_on_from_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history is saved last: by then the third epoch's weights are on the disk."""
    state_dict = History.state_dict

    def broken_off(history: History) -> dict[str, Any]:
        if history.epoch == 3:
            raise KeyboardInterrupt
        return state_dict(history)

    with monkeypatch.context() as patch:
        patch.setattr(History, "state_dict", broken_off)
        with pytest.raises(KeyboardInterrupt):
            train(Toy(config()), checkpoint=tmp_path / "run")
    progress = Quiet()
    resumed = train(Toy(config()), checkpoint=tmp_path / "run", progress=progress, resume=True)
    assert progress.starts == [("", 2 * 5)]
    assert same(resumed, train(Toy(config())))


@pytest.mark.usefixtures("each_epoch")
def test_a_checkpoint_half_written_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(Toy(config()), checkpoint=folder, progress=Quiet(12))
    assert [entry.name for entry in folder.iterdir()] == ["2"]
    (folder / ".fresh").mkdir()
    (folder / ".fresh" / "model.safetensors").write_bytes(b"half")
    assert same(train(Toy(config()), checkpoint=folder, resume=True), train(Toy(config())))


def test_resuming_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    first = train(Toy(config()), checkpoint=tmp_path / "run")
    progress = Quiet()
    again = train(Toy(config()), checkpoint=tmp_path / "run", progress=progress, resume=True)
    assert same(first, again)
    assert progress.starts == [("", 0)]
    assert progress.losses == []


def test_without_resume_an_old_checkpoint_is_not_used(tmp_path: Path) -> None:
    train(Toy(config(seed=1)), checkpoint=tmp_path / "run")
    progress = Quiet()
    fitted = train(Toy(config(seed=2)), checkpoint=tmp_path / "run", progress=progress)
    assert same(fitted, train(Toy(config(seed=2))))
    assert len(progress.losses) == 20


def test_resume_with_nothing_to_go_on_from_starts_at_the_beginning(tmp_path: Path) -> None:
    fitted = train(Toy(config()), checkpoint=tmp_path / "none" / "yet", resume=True)
    assert same(fitted, train(Toy(config())))
