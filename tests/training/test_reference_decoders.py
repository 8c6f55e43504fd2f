"""The decoders that servers are measured with."""

from pathlib import Path

import pytest

from model_store.store import Store
from training.reference_decoders import SHAPES, build, main

PARAMETERS = {"decoder_small": 13.8e6, "decoder_large": 91e6, "decoder_long": 13.8e6}


@pytest.mark.parametrize("name", SHAPES)
def test_a_decoder_has_the_size_it_is_known_by(name: str) -> None:
    parameters = sum(weight.numel() for weight in build(name).parameters())
    assert parameters == pytest.approx(PARAMETERS[name], rel=0.01)


@pytest.mark.slow
def test_the_command_publishes_once_and_what_is_published_is_proved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "decoder_small"]) == 0
    manifest = Store(tmp_path).open("decoder_small").manifest
    decoding = manifest.graphs["model"].decoding
    assert decoding is not None
    assert (decoding.form, decoding.context, decoding.end) == ("shared", 512, ())
    assert manifest.parity["model"].max_difference <= manifest.parity["model"].tolerance

    assert main([str(tmp_path), "decoder_small"]) == 0
    made, kept = capsys.readouterr().out.splitlines()
    assert made.endswith("made")
    assert kept.endswith("was there")
    assert Store(tmp_path).versions("decoder_small") == [1]


def test_a_name_that_is_none_of_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "decoder_huge"])
