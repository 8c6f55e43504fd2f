"""Sentences as vectors by a pretrained BERT. Knows no recipe, no label and no file."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.data.minilm import Minilm
from training.parts.tokens import pad

ROWS = 128


class SentenceEncoder(nn.Module):
    """Token ids → the mean of the last layer over a text's tokens."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """int64 ``[B, T]`` twice, mask 1 at tokens and 0 at padding → ``[B, D]``"""
        flow = self.bert(input_ids=tokens, attention_mask=mask).last_hidden_state  # [B, T, D]
        seen = mask.unsqueeze(2).to(flow.dtype)
        mean: Tensor = (flow * seen).sum(1) / seen.sum(1)
        return mean


def pretrained(files: Minilm) -> SentenceEncoder:
    """With a copy of the weights, so that training changes no one else's."""
    from transformers import BertConfig, BertModel  # seconds, and only these two recipes need it

    bert = BertModel(BertConfig.from_dict(files.config), add_pooling_layer=False)
    # The pooler and a table of positions are in the file, too; neither has a part in the mean.
    found = bert.load_state_dict(files.weights, strict=False)
    if found.missing_keys:
        raise ValueError(f"the weights lack {found.missing_keys}")
    return SentenceEncoder(bert)


def embed(network: nn.Module, ids: Sequence[Sequence[int]]) -> Tensor:
    """What ``network(tokens, mask)`` gives for texts of any number and length: ``[N, D]``, on the
    CPU, without gradients.
    """
    device = next(network.parameters()).device
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    parts = []
    with torch.no_grad():
        for start in range(0, len(order), ROWS):
            tokens, mask = pad([ids[row] for row in order[start : start + ROWS]])
            parts.append(network(tokens.to(device), mask.to(device)).cpu())
    vectors = torch.cat(parts)
    back = torch.empty_like(vectors)
    back[order] = vectors
    return back
