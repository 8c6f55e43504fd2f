"""A small Llama of random weights as transformers keeps it, and as Optimum exports it."""

import warnings
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import DynamicCache, GenerationConfig, LlamaConfig, LlamaForCausalLM

PAD, START, END, UNKNOWN = range(4)
VOCABULARY, LAYERS, HEADS, SIZE, CONTEXT = 96, 2, 2, 8, 64
WORDS = ("[PAD]", "[START]", "[END]", "[?]", *(f"w{token}" for token in range(4, VOCABULARY)))
"""Each token is a word of its own, so a text tells every one of them."""
KEYS = tuple(f"{layer}.{part}" for layer in range(LAYERS) for part in ("key", "value"))


def make() -> LlamaForCausalLM:
    """Weights large enough that what is said wanders, and ends now and then."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=LAYERS,
        num_attention_heads=2 * HEADS, num_key_value_heads=HEADS, head_dim=SIZE,
        max_position_embeddings=CONTEXT, initializer_range=0.4, pad_token_id=PAD,
        bos_token_id=START, eos_token_id=END,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


class _Legacy(nn.Module):
    """Keys and values go in and come out as bare tensors, in the order of :data:`KEYS`."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor,
        *past: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        cache = DynamicCache()
        for layer in range(LAYERS):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        found = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            cache=cache, use_cache=True,
        )  # fmt: skip
        kept = [part for layer in cache.layers for part in (layer.keys, layer.values)]
        return (found.logits, *kept)


def export(model: LlamaForCausalLM, folder: Path) -> Path:
    """Every file that ``optimum-cli export onnx`` leaves and a server needs."""
    rows, past, new = 2, 3, 4
    kept = [torch.randn(rows, HEADS, past, SIZE) for _ in KEYS]
    arguments: tuple[Any, ...] = (
        torch.full((rows, new), START), torch.ones(rows, past + new, dtype=torch.int64),
        torch.arange(past, past + new).repeat(rows, 1), *kept,
    )  # fmt: skip
    tokens = {0: "batch_size", 1: "sequence_length"}
    shapes = {
        "input_ids": tokens,
        "attention_mask": {0: "batch_size", 1: "total_length"},
        "position_ids": tokens,
        "past": tuple({0: "batch_size", 2: "past_sequence_length"} for _ in kept),
    }
    with warnings.catch_warnings():
        # Of torch itself: an axis has one name in several inputs, and a check is an older one.
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        torch.onnx.export(
            _Legacy(model).eval(), arguments, folder / "model.onnx", verbose=False, dynamo=True,
            input_names=["input_ids", "attention_mask", "position_ids",
                         *(f"past_key_values.{key}" for key in KEYS)],
            output_names=["logits", *(f"present.{key}" for key in KEYS)], dynamic_shapes=shapes,
        )  # fmt: skip
    model.config.save_pretrained(folder)
    GenerationConfig(bos_token_id=START, eos_token_id=[END, END + 90]).save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def tokenizer() -> Tokenizer:
    """START comes before a text. It cuts and pads to a length, as after a training."""
    vocabulary = {word: token for token, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=WORDS[UNKNOWN]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[START] $A", special_tokens=[(WORDS[START], START)]
    )
    made.enable_padding(length=16, pad_id=PAD, pad_token=WORDS[PAD])
    made.enable_truncation(16)
    return made


def said(model: LlamaForCausalLM, text: str, most: int, end: list[int]) -> list[int]:
    """What transformers' own ``generate`` says next, greedily, without the end."""
    prompt = [START, *map(WORDS.index, text.split())]
    config = GenerationConfig(
        max_new_tokens=most, do_sample=False, eos_token_id=end, pad_token_id=PAD
    )
    with torch.no_grad():
        tokens = model.generate(torch.tensor([prompt]), generation_config=config)
    found: list[int] = tokens[0, len(prompt) :].tolist()
    return found[:-1] if found[-1] in end else found
