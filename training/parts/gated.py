"""A layer of gated recurrent units (arXiv 1406.1078) that exports as one operator, however long the
sequence: torch's exporter would write a GRU out step by step, for one length only.
"""

import torch
from torch import Tensor, nn


class Gated(nn.GRU):
    """One layer that reads forwards."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width, batch_first=True)

    def forward(  # type: ignore[override]
        self, flow: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``[B, T, D]`` and the state ``[B, H]`` → ``[B, T, H]`` and the state after the last."""
        if torch.compiler.is_exporting():
            return self._as_operator(flow, before)
        said, after = super().forward(flow, before[None])
        return said, after[0]

    def _as_operator(self, flow: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        rows, time, _ = flow.shape
        weights = [_in_onnx_order(self.get_parameter(f"weight_{kind}_l0")) for kind in ("ih", "hh")]
        biases = [_in_onnx_order(self.get_parameter(f"bias_{kind}_l0")) for kind in ("ih", "hh")]
        said, after = torch.onnx.ops.symbolic_multi_out(
            "GRU",
            (flow.transpose(0, 1), weights[0][None], weights[1][None], torch.cat(biases)[None],
             None, before[None]),
            attrs={"hidden_size": self.hidden_size, "linear_before_reset": 1},
            dtypes=(flow.dtype, flow.dtype),
            shapes=((time, 1, rows, self.hidden_size), (1, rows, self.hidden_size)),
        )  # fmt: skip
        return said[:, 0].transpose(0, 1), after[0]


def _in_onnx_order(gates: Tensor) -> Tensor:
    """torch has reset, update, new; ONNX has update, reset, new."""
    reset, update, new = gates.chunk(3)
    return torch.cat([update, reset, new])
