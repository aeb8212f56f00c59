"""What methods share whose labels are clusters: a question about a crop, an answer, and what is told and drawn of both.

Held-out pictures have no label. They are asked for the cluster whose centre the features of the *whole* picture are nearest to,
and must tell it from a crop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.core import Asks, Batch, Method, Panel, Step
from embodied_ssl.datasets.source import Source
from embodied_ssl.methods.clustering.looks import CropAndWhole, Whole
from embodied_ssl.methods.clustering.pseudo_labels import PseudoLabels
from embodied_ssl.views.marks import framed
from embodied_ssl.views.pixels import to_float, unnormalise


class Clustered(Method):
    """Cross-entropy over clusters; log k when all k look alike. A subclass says where clusters and logits are from.

    Its `embed` gives ``logits``, and ``cluster`` in training, ``whole`` in eval mode: what is clustered, of the whole picture.
    """

    needs = frozenset({"picture"})
    asks = Asks(channels=(1, 2, 3))
    gives_logits = True
    embed_view: Whole
    key: Tensor

    def __init__(self, labels: PseudoLabels, head: nn.Module, view: CropAndWhole) -> None:
        super().__init__()
        self.pseudo = labels
        self.head = head
        self.view = view
        self.embed_view = self.whole = view.whole
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))  # of what `before_epoch` draws

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """See that there are enough pictures.

        Raises:
            UserError: fewer pictures than clusters, or than principal components.
        """
        self.pseudo.begin(source, rng)
        self.key = torch.tensor(int(rng.integers(2**31)))

    def asked(self, batch: Batch, features: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """The clusters of training pictures, or of others what they are found by: the features of whole pictures."""
        if self.training:
            return {"cluster": self.pseudo.labels[batch["index"]]}
        return {"whole": features(batch["picture"])}

    def truth(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """The clusters int64 [B] that are right: the label in training, else the nearest centre's."""
        return embeddings["cluster"] if self.training else self.pseudo.of(embeddings["whole"].detach())

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        logits, cluster = embeddings["logits"], self.truth(embeddings)
        guess = logits.argmax(1)
        loss = F.cross_entropy(logits, cluster)
        if not self.training:
            return Step(loss, answers={"guess": guess, "cluster": cluster})
        found = self.pseudo.metrics()
        accuracy = (guess == cluster).float().mean()
        return Step(loss, {"accuracy": accuracy, "chance_accuracy": 1 / found["clusters"], **found})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``accuracy``, and what it would be if clusters were answered as often, but without looking."""
        return answered(answers["guess"], answers["cluster"])

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Pictures of some clusters; and crops of unseen ones, framed by whether their own picture's cluster was answered."""
        right = step.answers["guess"] == step.answers["cluster"]
        count = f"{int(right.sum())} of {len(right)}"
        asked = f"crops of them: {count} answered with the cluster whose centre the whole picture is nearest to"
        return [
            *self.pseudo.panels(len(right)),
            ("pictures it was not trained on", to_float(batch["shown"])),
            (asked, framed(unnormalise(batch["crop"]), right)),
        ]

    def describe(self) -> dict[str, object]:
        """``clusters`` wanted, of how many ``pictures``."""
        return {"clusters": self.pseudo.how.total, "pictures": len(self.pseudo.labels)}


def answered(guess: Tensor, truth: Tensor) -> dict[str, float]:
    """``accuracy`` of answers [n], beside that of answers given as often but independently of what was asked."""
    guess, truth = guess.long(), truth.long()
    count = int(torch.maximum(guess.max(), truth.max())) + 1
    often, true = (one.bincount(minlength=count).double() / len(one) for one in (guess, truth))
    return {"accuracy": float((guess == truth).double().mean()), "chance_accuracy": float(often @ true)}
