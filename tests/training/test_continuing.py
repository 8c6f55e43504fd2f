"""Graphs run token by token are what their module is in training, or are refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_store.answers.text import TextAnswer
from model_store.decoding import Decoding
from model_store.inputs.text import TextInput
from model_store.manifest import Parity, Verb
from training.errors import ParityError
from training.export import export
from training.parts.decoder import Decoder, SelfAttention, Shape
from training.parts.decoder_graph import decoder_export
from training.parts.encoder_decoder import EncoderDecoder, encoder_decoder_exports
from training.parts.recurrent import Recurrent, recurrent_export
from training.parts.tokens import learn_byte_tokenizer
from training.recipe import GraphExport, Package
from training.verify import verify

SHAPE = Shape(width=32, layers=2, heads=2, context=24)
VOCABULARY = 300


def loud(network: nn.Module) -> nn.Module:
    """Layers that add something, as they do once they have learned."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval().requires_grad_(False)


def tokens(rows: int, time: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, VOCABULARY, (rows, time), generator=generator)


def decoder(time: int = 12) -> GraphExport:
    network = loud(Decoder(VOCABULARY, SHAPE))
    assert isinstance(network, Decoder)
    return decoder_export(
        network, lambda rows: {"tokens": tokens(rows, time)}, start=(0,), end=(0,)
    )


def recurrent() -> GraphExport:
    network = loud(Recurrent(VOCABULARY, 16, 2, 0.0))
    assert isinstance(network, Recurrent)
    return recurrent_export(
        network, lambda rows: {"tokens": tokens(rows)}, context=24, start=(0,), end=(0,)
    )


def translator() -> dict[str, GraphExport]:
    network = loud(EncoderDecoder(VOCABULARY, VOCABULARY, SHAPE))
    assert isinstance(network, EncoderDecoder)

    def sample(rows: int) -> tuple[Tensor, Tensor, Tensor]:
        mask = (torch.arange(6) < 6 - torch.arange(rows)[:, None] % 3).long()
        return tokens(rows, 6) * mask, mask, tokens(rows)

    return encoder_decoder_exports(network, sample, end=0, lengths=(8, 16))


def prove(folder: Path, graphs: Mapping[str, GraphExport]) -> dict[str, Parity]:
    package = Package(dict(graphs), {})
    return verify(package, {name: export(name, g, folder) for name, g in graphs.items()}, folder)


def proved_against(folder: Path, made: GraphExport, shown: GraphExport) -> None:
    """``made`` is on disk, ``shown`` is what it should be."""
    graph = export("model", made, folder)
    verify(Package({"model": shown}, {}), {"model": graph}, folder)


# --- the same numbers --------------------------------------------------------------------------


def test_a_shared_cache_a_state_and_a_source_are_proved(tmp_path: Path) -> None:
    for graphs in ({"model": decoder()}, {"model": recurrent()}, translator()):
        for parity in prove(tmp_path, graphs).values():
            assert parity.max_difference < 1e-4
            assert parity.rows[:2] == (1, 3)


def test_the_manifest_says_how_the_graph_is_run(tmp_path: Path) -> None:
    graph = export("model", decoder(), tmp_path)
    assert graph.decoding
    assert graph.decoding.form == "shared"
    shapes = {tensor.name: tensor.shape for tensor in (*graph.inputs, *graph.outputs)}
    assert shapes["past_key_values.1.value"] == ("batch", 2, "cache", 16)
    assert shapes["present.1.value"] == ("batch", 2, "cache", 16)
    assert shapes["logits"] == ("batch", "wanted", VOCABULARY)


def test_another_reference_is_refused(tmp_path: Path) -> None:
    made = decoder()
    reference = made.reference
    assert reference
    shown = replace(made, reference=lambda inputs: reference(inputs) + 1e-2)
    with pytest.raises(ParityError, match=r"model at 1 rows: logits is .* off"):
        proved_against(tmp_path, made, shown)


def test_rotation_by_other_angles_is_refused(tmp_path: Path) -> None:
    made, shown = decoder(), decoder()
    for layer in made.module.modules():
        if isinstance(layer, SelfAttention):
            layer.cos.copy_(layer.cos.roll(1, dims=1))
    with pytest.raises(ParityError, match=r"logits is .* off"):
        proved_against(tmp_path, made, shown)


class Forgetful(nn.Module):
    """Hands back the state it was given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor, wanted: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        logits, *_ = self.inner(tokens, wanted, *state)
        return logits, *(part * 1 for part in state)


def test_a_state_that_is_not_kept_is_found_when_the_sequence_goes_on(tmp_path: Path) -> None:
    made = recurrent()
    with pytest.raises(ParityError, match=r"model at 3 rows, row 0 in pieces: logits is .* off"):
        proved_against(tmp_path, replace(made, module=Forgetful(made.module)), made)


class Unmasked(nn.Module):
    """Looks at all of the source, padding too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor, lengths: Tensor, wanted: Tensor, *rest: Tensor) -> Tensor:
        mask, *others = rest
        everything: Tensor = self.inner(tokens, lengths, wanted, mask * 0 + 1, *others)
        return everything


def test_a_source_whose_padding_is_looked_at_is_refused(tmp_path: Path) -> None:
    made = translator()["model"]
    with pytest.raises(ParityError, match=r"logits is .* off"):
        proved_against(tmp_path, replace(made, module=Unmasked(made.module)), made)


def test_a_sample_too_short_to_be_continued_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="a sample of 5 tokens leaves nothing to continue"):
        prove(tmp_path, {"model": decoder(time=5)})


def test_a_graph_has_a_reference_exactly_where_it_has_a_decoding() -> None:
    with pytest.raises(ValueError, match="a reference where it has a decoding, and only there"):
        replace(decoder(), reference=None)


# --- examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["decoder", "recurrent", "translator"])
def test_an_example_is_continued_as_a_callers_would_be(tmp_path: Path, kind: str) -> None:
    learn_byte_tokenizer(["to be or not to be"], VOCABULARY).save(str(tmp_path / "tokenizer.json"))
    graphs = translator() if kind == "translator" else {"model": globals()[kind]()}
    source = TextInput(max_tokens=16) if kind == "translator" else TextInput(mask=None)
    verb = Verb(input=source, answer=TextAnswer(), example="to be")
    made = {name: export(name, graph, tmp_path) for name, graph in graphs.items()}
    verify(Package(graphs, {"generate": verb}), made, tmp_path)


def test_an_example_that_is_refused_is_named(tmp_path: Path) -> None:
    learn_byte_tokenizer(["to be"], VOCABULARY).save(str(tmp_path / "tokenizer.json"))
    graphs = {"model": decoder()}
    verb = Verb(input=TextInput(mask=None, max_tokens=2), answer=TextAnswer(), example="to be not")
    made = {"model": export("model", graphs["model"], tmp_path)}
    with pytest.raises(ParityError, match="verb generate: its example is refused"):
        verify(Package(graphs, {"generate": verb}), made, tmp_path)


def test_the_form_that_copies_its_cache_is_for_other_peoples_graphs(tmp_path: Path) -> None:
    made = recurrent()
    assert made.decoding
    growing = Decoding.model_validate({**made.decoding.model_dump(), "form": "growing"})
    with pytest.raises(ParityError, match="expected a cache that is shared, or a state"):
        prove(tmp_path, {"model": replace(made, decoding=growing)})
