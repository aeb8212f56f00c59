"""PIRL: a picture's puzzle, or the picture turned, is to be found among all pictures as the picture itself is.

Puzzles and turns make good questions, but a network that answers "by which permutation?" must tell apart what is the same
thing. Here the answer does not depend on how the tiles lie: the vector of the shuffled tiles, like that of a crop, must be
near the picture's row in the memory bank and far from others' rows. It is `instance_discrimination` with a second branch.

Misra and van der Maaten 2020, arXiv:1912.01991: loss eq. 5, lambda is ``weight``. Kept from the authors' program: each tile by
itself through the network and a linear layer to D numbers, all of them joined in the order they lie in and brought to D numbers
by another; any order of the tiles; the crop's branch alone moves the rows; tiles are coloured and mirrored each by itself. The
program's later form has a hidden layer (``hidden``; theirs without BatchNorm), the softmax over drawn rows and temperature 0.1.
Different: both branches meet the same drawn rows, and Z is estimated from the crop's branch, so that with weight 0 this is
instance discrimination to the bit; their further changes of colour (solarised, posterised and the like) are left out. Turns
are of another crop, 0 to 3 quarters with equal chance.

Held-out pictures: as in `instance_discrimination`, and the same is asked of puzzles (turned crops).

Legend: B pictures, T tiles, D numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Panel, Step
from embodied_ssl.errors import UserError
from embodied_ssl.losses import precise
from embodied_ssl.methods.contrastive.instance_discrimination import InstanceDiscrimination, found_whole, projection
from embodied_ssl.methods.contrastive.memory_contrast import Memory
from embodied_ssl.methods.contrastive.pirl_views import CropAndPuzzle, CropAndTurn, Puzzle
from embodied_ssl.methods.retrieval import retrieval
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop
from embodied_ssl.views.pixels import unnormalise


@dataclass(frozen=True)
class PIRLConfig:
    """The crop, how it is transformed and the memory.

    Args:
        transform: ``jigsaw`` or ``rotation``.
        size, area, colour: of the crop, and of the turned crop.
        puzzle: how puzzles are cut.
        weight: lambda, the transformed picture's share of the loss, 0 to 1. With 0 it is not looked at.
        hidden: width of a hidden layer with BatchNorm in both branches (a puzzle's by tile); 0 for the paper's linear heads.
        memory: the bank and its loss.
    """

    transform: Literal["jigsaw", "rotation"] = "jigsaw"
    size: int = 64
    area: tuple[float, float] = (0.2, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)
    puzzle: Puzzle = field(default_factory=Puzzle)
    weight: float = 0.5
    hidden: int = 0
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.crop  # noqa: B018  # refuses what cannot be cut
        if self.transform not in ("jigsaw", "rotation"):
            raise UserError(f"transform is '{self.transform}'; give jigsaw or rotation")
        if self.hidden < 0:
            raise UserError(f"hidden is {self.hidden}; give 0 or more")
        if not 0 <= self.weight <= 1:
            raise UserError(f"weight is {self.weight}; give the transformed picture's share of the loss, 0 to 1")

    @property
    def crop(self) -> Crop:
        return Crop(self.size, self.area, self.colour)

    def build(self, backbone: Backbone) -> PIRL:
        if self.transform == "jigsaw":
            backbone.check_side(self.puzzle.tile)
            puzzle = CropAndPuzzle(ColouredCrops((self.crop,), whole=self.size), self.puzzle)
            return PIRL(backbone, puzzle, self)
        return PIRL(backbone, CropAndTurn(ColouredCrops((self.crop,) * 2, whole=self.size)), self)


class PuzzleHead(nn.Module):
    """Tiles' vectors [B, T, W] to one [B, D]: which tile lies where is kept, for it to be disregarded."""

    def __init__(self, width: int, tiles: int, hidden: int, out: int) -> None:
        super().__init__()
        self.tile = projection(width, hidden, out)
        self.joined = nn.Linear(tiles * out, out)

    def forward(self, vectors: Tensor) -> Tensor:
        each = self.tile(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
        joined: Tensor = self.joined(each.flatten(1))
        return joined


class PIRL(InstanceDiscrimination):
    """(1 - weight) times the crop's loss against the bank and weight times the transformed picture's."""

    def __init__(self, backbone: Backbone, view: CropAndPuzzle | CropAndTurn, config: PIRLConfig) -> None:
        super().__init__(backbone, view, config.size, config.memory, config.hidden)
        self.weight = config.weight
        self.asked = view
        widths = config.hidden, config.memory.out
        if isinstance(view, CropAndPuzzle):
            self.transformed: nn.Module = PuzzleHead(backbone.width, view.puzzle.tiles, *widths)
        else:
            self.transformed = projection(backbone.width, *widths)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Unit vectors [B, D]: ``crop``, ``transformed``, and for held-out pictures ``whole``."""
        found = super().embed(backbone, batch)
        return found | {"transformed": self.look_at_transformed(backbone, batch)} if self.weight else found

    def look_at_transformed(self, backbone: nn.Module, batch: Batch) -> Tensor:
        """The puzzle's unit vectors, or those of the turned crop: [B, D]."""
        if "tiles" not in batch:
            return F.normalize(precise(self.transformed(backbone(batch["turned"]).vector)), dim=1)
        tiles = batch["tiles"]
        vectors = backbone(tiles.flatten(0, 1)).vector.unflatten(0, tiles.shape[:2])
        return F.normalize(precise(self.transformed(vectors)), dim=1)

    def branches(self, embeddings: Mapping[str, Tensor]) -> list[tuple[float, Tensor]]:
        if not self.weight:
            return super().branches(embeddings)
        return [(1 - self.weight, embeddings["crop"]), (self.weight, embeddings["transformed"])]

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        step = super().objective(embeddings)
        if self.training and self.weight:
            agreement = (embeddings["crop"] * embeddings["transformed"]).sum(1).mean()
            step.metrics["transformed_cosine"] = agreement.detach()
        return step

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``retrieval`` of whole pictures by crops, and ``transformed_retrieval`` by puzzles or turned crops; chance is 1/64."""
        figures = super().score(answers)
        if self.weight:
            found, chance = retrieval(answers["transformed"], answers["whole"], answers["index"])
            figures |= {"transformed_retrieval": found, "chance_transformed_retrieval": chance}
        return figures

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Crops and puzzles (or turned crops), and the whole pictures that each takes for its own."""
        drawn = list(super().figure(batch, step))
        if not self.weight:
            return drawn
        answers = step.answers
        if isinstance(self.asked, CropAndPuzzle):
            shown, name = self.asked.laid_out(batch), "puzzle"
        else:
            shown, name = unnormalise(batch["turned"]), "turned crop"
        return [*drawn, (f"a {name}", shown), found_whole(name, answers["transformed"], batch, answers)]
