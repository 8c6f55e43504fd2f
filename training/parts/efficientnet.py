"""EfficientNet-lite0 (arXiv 1905.11946, without squeeze and excitation, ReLU6). Knows no recipe.

Pictures have sides that are multiples of 32: then TensorFlow's uneven padding, with which it was
trained, is the same at every size.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 32
STAGES = (  # repeats, kernel, stride, times the width inside, width
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
TAPPED = {4: 40, 10: 112}
"""Blocks whose output counts among the features, and how wide it is."""
FEATURES = HEAD + sum(TAPPED.values())


class Convolution(nn.Conv2d):
    """Padded as TensorFlow does: where a stride makes it uneven, the odd row is the last one."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        both = kernel - stride
        self.margin = (both // 2, both - both // 2) * 2

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(F.pad(images, self.margin) if any(self.margin) else images)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Widen, filter each channel, narrow; added to what came in where the sizes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, times: int) -> None:
        super().__init__()
        inside = inputs * times
        self.widened, self.skipped = times > 1, stride == 1 and inputs == outputs
        if self.widened:
            self.expand_conv, self.bn0 = Convolution(inputs, inside, 1), _norm(inside)
        self.depthwise_conv = Convolution(inside, inside, kernel, stride, groups=inside)
        self.bn1 = _norm(inside)
        self.project_conv, self.bn2 = Convolution(inside, outputs, 1), _norm(outputs)

    def forward(self, images: Tensor) -> Tensor:
        flow = images
        if self.widened:
            flow = F.relu6(self.bn0(self.expand_conv(flow)))
        flow = F.relu6(self.bn1(self.depthwise_conv(flow)))
        flow = self.bn2(self.project_conv(flow))
        added: Tensor = flow + images if self.skipped else flow
        return added


class EfficientNetLite0(nn.Module):
    """Floats ``[B, 3, H, W]`` from -1 to 1 → features ``[B, 1432]``: means of the last layer and of
    two in the middle, which see smaller things.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = Convolution(3, STEM, 3, 2), _norm(STEM)
        blocks, width = [], STEM
        for repeats, kernel, stride, times, outputs in STAGES:
            for place in range(repeats):
                blocks.append(Block(width, outputs, kernel, 1 if place else stride, times))
                width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = Convolution(width, HEAD, 1), _norm(HEAD)
        self.fc = nn.Linear(HEAD, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        flow = F.relu6(self.bn0(self.conv_stem(images)))
        seen = []
        for place, block in enumerate(self.blocks):
            flow = block(flow)
            if place in TAPPED:
                seen.append(flow.mean((2, 3)))
        last = F.relu6(self.bn1(self.conv_head(flow))).mean((2, 3))
        return torch.cat([last, *seen], 1)

    def maps(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """What these blocks, in rising order, give: ``[B, C, H, W]`` each. No later one is run."""
        flow = F.relu6(self.bn0(self.conv_stem(images)))
        seen = []
        for place, block in enumerate(self.blocks[: blocks[-1] + 1]):
            flow = block(flow)
            if place in blocks:
                seen.append(flow)
        return seen

    def classify(self, images: Tensor) -> Tensor:
        """Logits of ImageNet's classes ``[B, 1000]``."""
        logits: Tensor = self.fc(self(images)[:, :HEAD])
        return logits


class Trunk(nn.Module):
    """Its first blocks: pixels uint8 ``[B, 3, H, W]`` → maps."""

    def __init__(self, whole: EfficientNetLite0, blocks: int) -> None:
        super().__init__()
        self.whole, self.last = whole, blocks - 1

    def forward(self, pixels: Tensor) -> Tensor:
        return self.whole.maps(scaled(pixels), [self.last])[0]


class Tail(nn.Module):
    """The blocks after those: maps → features ``[B, 1280]``."""

    def __init__(self, whole: EfficientNetLite0, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*whole.blocks[blocks:])
        self.conv_head, self.bn1 = whole.conv_head, whole.bn1

    def forward(self, maps: Tensor) -> Tensor:
        features: Tensor = F.relu6(self.bn1(self.conv_head(self.blocks(maps)))).mean((2, 3))
        return features


def pretrained(weights: Mapping[str, Tensor]) -> EfficientNetLite0:
    network = EfficientNetLite0()
    network.load_state_dict(weights)
    return network.eval()


def scaled(pixels: Tensor) -> Tensor:
    """uint8 ``[B, 3, H, W]`` → the floats it was trained with."""
    return (pixels.float() - 127) / 128
