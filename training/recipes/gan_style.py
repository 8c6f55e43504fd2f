"""Redraws any picture in the style of one, in one pass and in the size it came.

A feed-forward net that learned to come near the style of one picture and to keep the content, as
VGG16 sees both, while a critic of small patches tells its strokes from the style's own. Held
against the method it replaces, which changes the pixels of each picture for as long as it takes.
Six crops of two photographs it never saw, seed 0, quick, 3.5 minutes of one core all in all:

====================  ==========  ==========  ============  ==================
what                  total loss  style loss  content loss  time for a picture
====================  ==========  ==========  ============  ==================
this one                   0.739       0.119         0.620  1
60 steps on pixels         0.281       0.148         0.133  360 times that
the photograph             2.911       2.911         0      -
====================  ==========  ==========  ============  ==================

So it is as near the style, at the price of content: one pass has to know every picture beforehand.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from model_store.answers.image import ImageAnswer, png
from model_store.inputs.image import ImageInput
from model_store.manifest import Batching, Category, Family, Verb
from training import report
from training.data import hed, photos
from training.data.photos import Photo
from training.parts.adversary import frozen, hinge, optimizers
from training.parts.perceptual import Looks, Losses, mean_losses, optimise, roughness
from training.parts.stylist import PatchCritic, Stylist
from training.recipe import MAIN_GRAPH, Config, Evaluation, GraphExport, Networks, Package, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor]
"""Pixels uint8 ``[B, 3, S, S]`` of photographs, and as many of the style."""
MAX_ROWS = 4
MAX_PIXELS = 2_000_000
"""Of a picture that is served: its widest layers take 64 bytes of each, and there may be four."""
TEST_SHARE = 0.3
SAMPLE_SIZE = (30, 31)
"""Height and width of what the graph is tried with: an odd side has no half; any picture has them.
"""


class StyleConfig(Config):
    """Settings of ``gan_style``."""

    style: str = Field(
        default="ihc", description="the picture to be like: brick, grass, gravel,"
        " hubble_deep_field, ihc or a path",
    )  # fmt: skip
    style_side: int = Field(
        default=256, ge=32, description="its shorter side in pixels: the size of its strokes"
    )
    side: int = Field(default=96, ge=32, description="side of the crops that are learned from")
    crops: int = Field(default=128, ge=1, description="crops of photographs in an epoch")
    width: int = Field(default=16, ge=1, description="channels of the stylist's first layer")
    blocks: int = Field(default=3, ge=0, description="residual blocks in its middle")
    critic_width: int = Field(default=24, ge=1, description="of the critic's first layer")
    style_weight: float = Field(default=1.0, ge=0, description="style beside content")
    critic_weight: float = Field(default=0.1, ge=0, description="the critic beside content")
    rough_weight: float = Field(default=5.0, ge=0, description="smoothness beside content")
    tested_crops: int = Field(default=6, ge=1, description="of photographs it never saw")
    optimised_steps: int = Field(
        default=60, ge=1, description="of the method it is held against, on each of them"
    )


class Served(nn.Module):
    """What is exported: pixels in, pixels out."""

    def __init__(self, stylist: nn.Module) -> None:
        super().__init__()
        self.stylist = stylist

    def forward(self, image: Tensor) -> Tensor:
        pixels: Tensor = (self.stylist(image.float() / 255) * 255).round().to(torch.uint8)
        return pixels


class GanStyle(Recipe[StyleConfig]):
    """Image → image of the same size."""

    family: ClassVar[Family] = "gan"
    category: ClassVar[Category] = "vision"
    lower_is_better = True
    task = "style-transfer"
    description = "Redraws a picture of any size in the style it learned, in one pass."
    data_formats = f"{photos.FORMAT}; the style is another picture, given by --style"
    profiles: ClassVar[Mapping[str, Config]] = {
        "quick": StyleConfig(
            epochs=8, batch_size=4, learning_rate=2e-3, average=0.9, patience=8, clip_norm=10,
        ),
        "full": StyleConfig(
            epochs=60, batch_size=4, learning_rate=2e-3, average=0.98, patience=60, clip_norm=10,
            side=128, width=24, blocks=4, optimised_steps=300,
        ),
    }  # fmt: skip
    smoke: ClassVar[Mapping[str, Any]] = {
        "epochs": 1, "side": 32, "crops": 4, "batch_size": 2, "width": 4, "blocks": 1,
        "critic_width": 4, "style_side": 32, "tested_crops": 2, "optimised_steps": 1,
    }  # fmt: skip
    weights = f"from scratch; losses by {hed.SOURCE}, which are not part of the model"
    weights_license = hed.LICENSE

    def load(self, data: Path | None) -> None:
        config = self.config
        found = photos.read(data, config.side) if data else photos.packaged()
        order = np.random.default_rng(config.seed).permutation(list(found)).tolist()
        tested = max(1, int(TEST_SHARE * len(order)))
        self.tested, validated, self.known = (
            {name: found[name] for name in names}
            for names in (order[:tested], order[tested : tested + 1], order[tested + 1 :])
        )
        self.style = photos.sized(photos.texture(config.style), config.style_side)
        self.looks = Looks(_floats([self.style]))
        random = np.random.default_rng([config.seed, 0])
        self.validation = photos.crops(validated, MAX_ROWS, config.side, random)
        self.test = photos.crops(self.tested, config.tested_crops, config.side, random)
        self.data_source = f"{data}: {len(found)} pictures" if data else photos.source(len(found))
        self.data_source += f"; the style: {config.style}"
        self.data_license = "the user's own" if data else photos.LICENSE

    def steps(self, fold: int) -> int:
        del fold
        return max(1, self.config.crops // self.config.batch_size)

    def batches(self, fold: int, epoch: int) -> Iterable[Batch]:
        size, side = self.config.batch_size, self.config.side
        random = np.random.default_rng([self.config.seed, fold, epoch])
        for _ in range(self.steps(fold)):
            strokes = [photos.cut(self.style, side, side, random) for _ in range(size)]
            yield photos.crops(self.known, size, side, random), torch.from_numpy(np.stack(strokes))

    def build(self, fold: int) -> Networks:
        del fold
        config = self.config
        return {
            "stylist": Stylist(config.width, config.blocks),
            "critic": PatchCritic(config.critic_width),
        }

    def optimizers(self, networks: Networks) -> dict[str, torch.optim.Optimizer]:
        return optimizers(networks, self.config.learning_rate, momentum=0.5)

    def step(self, networks: Networks, batch: Batch) -> Iterator[tuple[str, Tensor]]:
        content, strokes = (part.float() / 255 for part in batch)
        made = networks["stylist"](content)
        yield "critic", hinge(networks["critic"](torch.cat([strokes, made.detach()])))
        with frozen(networks["critic"]) as critic:
            loss = self._loss(self.looks.losses(made, content))
            loss = loss + self.config.rough_weight * roughness(made)
            yield "stylist", loss - self.config.critic_weight * critic(made).mean()

    def _loss(self, losses: Losses) -> Tensor:
        return (losses.content + self.config.style_weight * losses.style).mean()

    def validate(self, networks: Networks, fold: int) -> float:
        """The losses by VGG16 on crops of a photograph of their own; the critic has no say."""
        del fold
        device = next(networks["stylist"].parameters()).device
        content = self.validation.to(device).float() / 255
        return float(self._loss(self.looks.losses(networks["stylist"](content), content)))

    # --- result --------------------------------------------------------------------------------

    def evaluate(self, fitted: Sequence[Networks]) -> Evaluation:
        config, content = self.config, self.test.float() / 255
        parts = torch.split(content, MAX_ROWS)
        started = perf_counter()
        ours = [fitted[-1]["stylist"](part) for part in parts]
        passed = perf_counter()
        optimised = [
            optimise(self.looks, part, config.style_weight, config.optimised_steps,
                     config.rough_weight)
            for part in parts
        ]  # fmt: skip
        ended = perf_counter()
        return Evaluation(
            self._score(ours, parts, passed - started),
            {
                "optimisation": self._score(optimised, parts, ended - passed),
                "unchanged": self._score(parts, parts, 0.0),
            },
            f"{len(content)} crops of {config.side} × {config.side} pixels from photographs it"
            f" never saw ({', '.join(self.tested)}); it learned from {', '.join(self.known)}."
            " Content and style loss: squared distance in what VGG16 sees, as a share of what is"
            f" aimed at; total loss: content + {config.style_weight:g} × style. Optimisation:"
            f" Gatys' method, {config.optimised_steps} steps of Adam on the pixels of each crop."
            " Milliseconds a picture: by torch, on the machine that trained it.",
            {"samples": sheet(self.style, [content, torch.cat(ours), torch.cat(optimised)])},
        )

    def _score(
        self, made: Sequence[Tensor], content: Sequence[Tensor], seconds: float
    ) -> dict[str, float]:
        pairs = zip(made, content, strict=True)
        losses = mean_losses([self.looks.losses(*pair) for pair in pairs])
        return {
            "total_loss": float(self._loss(losses)),
            "style_loss": float(losses.style.mean()),
            "content_loss": float(losses.content.mean()),
            "milliseconds_a_picture": 1000 * seconds / sum(map(len, made)),
        }

    def package(self, networks: Networks, folder: Path) -> Package:
        del folder
        kind = ImageInput(max_pixels=MAX_PIXELS)
        answer = ImageAnswer(tensor="restyled")

        def sample(rows: int) -> dict[str, Tensor]:
            random = np.random.default_rng(rows)
            tested = next(iter(self.tested.values()))
            crops = [photos.cut(tested, *SAMPLE_SIZE, random) for _ in range(rows)]
            return {kind.tensor: torch.from_numpy(np.stack(crops))}

        sides = {2: "height", 3: "width"}
        graph = GraphExport(
            Served(networks["stylist"]),
            sample,
            outputs=(answer.tensor,),
            axes={kind.tensor: sides, answer.tensor: sides},
            batching=Batching(max_rows=MAX_ROWS),
        )
        example = {"b64": png(photos.sized(next(iter(self.tested.values())), 128))}
        verb = Verb(input=kind, answer=answer, example=example)
        return Package(graphs={MAIN_GRAPH: graph}, verbs={"generate": verb})


def _floats(photos_of_one_size: Sequence[Photo]) -> Tensor:
    """From 0 to 1, ``[N, 3, H, W]``."""
    return torch.from_numpy(np.stack(photos_of_one_size)).float() / 255


def sheet(style: Photo, rows: Sequence[Tensor]) -> "Figure":
    """The style's middle, then the crops, what the model and what optimisation made of them."""
    side = rows[0].shape[-1]
    middle = _floats([photos.sized(style, side)[:, :side, :side]])
    cells = [torch.cat([middle, row]) for row in rows]
    pixels = (torch.cat(cells) * 255).round().to(torch.uint8)
    return report.image_grid(pixels.numpy(), columns=len(cells[0]))
