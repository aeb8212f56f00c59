"""Instance discrimination: every picture is a class of its own, and a crop of it is to be told from all others.

What is alike gets alike vectors for want of room, although nobody said what is alike: there are only D numbers to tell N
pictures apart by. Classes have no weights of their own, which would be seen once an epoch; a memory of what the network made
of each picture stands for them (`memory_bank`), and the loss compares with it (`memory_contrast`).

Wu, Xiong, Yu and Lin 2018, arXiv:1805.01978. Kept: the views (colours changed every time, no blur), a linear layer to D numbers
of length 1, noise-contrastive estimation with M rows, rows moved half-way. Different: rows start on the sphere; how colours are
changed (`embodied_ssl.views.colour`). The exact softmax over all rows (their eq. 2) is a setting, as is the proximal term.

Held-out pictures have no row. What is asked of them is whether a crop finds the whole picture that it was cut from among other
whole pictures, and in the loss the whole picture stands for the row: a figure to compare within a method, not between settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Method, Panel, Step, View
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import UserError
from embodied_ssl.heads import mlp
from embodied_ssl.losses import precise
from embodied_ssl.methods.contrastive.memory_contrast import Memory, MemoryContrast
from embodied_ssl.methods.contrastive.sub_batches import check_groups, has_batch_norm
from embodied_ssl.methods.retrieval import nearest, retrieval
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop, check_not_enlarged, crops_of
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import unnormalise

EVERY_TIME = ColourChange(hue=0.4, change=1.0)  # the colours of the paper's program: 0.4 of each, every picture, a fifth grey


@dataclass(frozen=True)
class InstanceDiscriminationConfig:
    """The crop, the head and the memory.

    Args:
        size: side of the crop in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour: how colours change.
        hidden: width of a hidden layer with BatchNorm before the D numbers; 0 for the paper's linear head. Without one all
            vectors begin in much the same direction, and rows leave it by epochs rather than steps.
        memory: the bank and its loss.
    """

    size: int = 64
    area: tuple[float, float] = (0.2, 1.0)
    colour: ColourChange = EVERY_TIME
    hidden: int = 0
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.crop  # noqa: B018  # refuses what cannot be cut
        if self.hidden < 0:
            raise UserError(f"hidden is {self.hidden}; give 0 or more")

    @property
    def crop(self) -> Crop:
        return Crop(self.size, self.area, self.colour)

    def build(self, backbone: Backbone) -> InstanceDiscrimination:
        view = ColouredCrops((self.crop,), whole=self.size)
        return InstanceDiscrimination(backbone, view, self.size, self.memory, self.hidden)


def projection(width: int, hidden: int, out: int) -> nn.Module:
    """[B, width] to [B, out]: linear, or with a hidden layer between."""
    return mlp(width, hidden, out) if hidden else nn.Linear(width, out)


class InstanceDiscrimination(Method):
    """The loss of one crop against the bank; see `MemoryContrast.compare` for its known values."""

    needs = frozenset({"picture"})
    pair = ("crop", "whole")

    def __init__(self, backbone: Backbone, view: View, size: int, memory: Memory, hidden: int = 0) -> None:
        super().__init__()
        self.view = view
        self.size = size  # of the crop
        self.head = projection(backbone.width, hidden, memory.out)
        self.memory = MemoryContrast(memory)
        self.normed = has_batch_norm(backbone, self.head)

    def check_batch(self, examples: int, together: int) -> None:
        """BatchNorm sees at least two pictures."""
        if self.normed:
            check_groups(together, 1)

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """A row for each sample of the source.

        Raises:
            UserError: fewer samples than 2 or than negatives, or pictures smaller than the crop.
        """
        check_not_enlarged(source, self.size)
        self.memory.fit(len(source), rng)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Unit vectors [B, D]: ``crop``, and for held-out pictures ``whole``."""
        found = {"crop": self.look(backbone, crops_of(batch)[0]), "index": batch["index"]}
        return found if self.training else found | {"whole": self.look(backbone, batch["picture"])}

    def look(self, backbone: nn.Module, pictures: Tensor) -> Tensor:
        """Pictures [B, C, S, S] to unit vectors [B, D]."""
        return F.normalize(precise(self.head(backbone(pictures).vector)), dim=1)

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        step = self.memory.compare(self.branches(embeddings), embeddings["index"], embeddings.get("whole"))
        if not self.training:
            step.answers = {name: vectors.detach() for name, vectors in embeddings.items()}
        return step

    def branches(self, embeddings: Mapping[str, Tensor]) -> list[tuple[float, Tensor]]:
        """What is compared with the bank, and how much each counts; the first moves the rows."""
        return [(1.0, embeddings["crop"])]

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        self.memory.update(carry)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``retrieval``: is the whole picture nearest to a crop its own? See `embodied_ssl.methods.retrieval`; chance is 1/64."""
        found, chance = retrieval(answers["crop"], answers["whole"], answers["index"])
        return {"retrieval": found, "chance_retrieval": chance}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Each crop, and which of the whole pictures shown it takes for its own."""
        answers = step.answers
        return [("a crop", unnormalise(crops_of(batch)[0])), found_whole("crop", answers["crop"], batch, answers)]

    def describe(self) -> dict[str, object]:
        return self.memory.describe()


def found_whole(name: str, vectors: Tensor, batch: Batch, answers: Mapping[str, Tensor]) -> Panel:
    """The whole picture nearest to each of ``vectors`` [n, D] among those shown, framed by whether it is the right one."""
    chosen = nearest(vectors, answers["whole"])
    right = batch["index"][chosen] == batch["index"]
    pictures = framed(unnormalise(batch["picture"])[chosen], right)
    return f"the whole picture nearest to the {name}: {int(right.sum())} of {len(right)} are its own", pictures
