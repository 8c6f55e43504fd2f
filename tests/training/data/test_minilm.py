from training.data import minilm


def test_weights_are_those_of_a_bert_of_six_layers() -> None:
    files = minilm.read()

    assert files.config["model_type"] == "bert"
    assert files.weights["embeddings.word_embeddings.weight"].shape == (30_522, minilm.SIZE)
    layers = {name.split(".")[2] for name in files.weights if name.startswith("encoder.layer.")}
    assert layers == set("012345")


def test_tokenizer_neither_pads_nor_cuts() -> None:
    tokenizer = minilm.read().tokenizer

    assert tokenizer.encode("A café").tokens == ["[CLS]", "a", "cafe", "[SEP]"]
    assert len(tokenizer.encode("word " * 700).ids) == 702
