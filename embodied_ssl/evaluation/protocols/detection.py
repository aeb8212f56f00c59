"""Detection: the network becomes the body of a Faster R-CNN, is trained on pictures with boxes, and judged by average precision.

Linear figures and detection figures rank features differently (SwAV: best by SVM, worst here), so both are needed. Presets:

| | form | trained | pictures x steps, rate | short side | BatchNorm |
|---|---|---|---|---|---|
| `LAPTOP` | pyramid | all | 4 x 200, 0.01 | 320 at most | frozen, estimated on the train part |
| `MOCO_C4` | C4 | all | 16 x 24,000, 0.02, / 10 at 18k and 22k | 480-800, test 800 | the batch's, extra after the head |
| `GOYAL_FROZEN` | C4 | new layers and layer4 | 4 x 50,000, 0.002, / 10 at 38k | 600 | frozen |

He et al. 2020 (MoCo, arXiv:1911.05722) train a ResNet-50 on VOC 07+12 trainval, five times; Goyal et al. 2019 (arXiv:1905.01235)
on VOC07 trainval; both test on VOC07 test. Which pictures is the target's matter, not the preset's, and any ResNet is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from embodied_ssl.datasets.target import Boxes, Rows
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.average_precision import Kind, Values
from embodied_ssl.evaluation.detection.detectors import C4, DetectorConfig, Pyramid
from embodied_ssl.evaluation.detection.pictures import readable
from embodied_ssl.evaluation.detection.scores import THRESHOLDS, Judged, judge
from embodied_ssl.evaluation.detection.training import Recipe, Trainer, keyed_torch
from embodied_ssl.evaluation.pictures import named
from embodied_ssl.evaluation.protocol import Job, OnNetworks
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.evaluation.statistics import percentiles, resamples

SMALL = Pyramid(ranked=(1000, 500), kept=(500, 250), sampled=128, width=128, head_width=256)


@dataclass(frozen=True)
class Detection(OnNetworks):
    """The detection protocol.

    Args:
        preset: what these settings are called in tables.
        detector: the form of the detector.
        recipe: how it is trained.
        trials: trainings from the same weights with other draws; figures are their mean.
        kind: of average precision, for all three figures.
    """

    name: ClassVar[str] = "detection"
    needs: ClassVar[str] = "boxes"
    metric: ClassVar[str] = "AP50"
    cost: ClassVar[float] = 800.0
    preset: str = "laptop"
    detector: DetectorConfig = SMALL
    recipe: Recipe = field(default_factory=Recipe)
    trials: int = 1
    kind: Kind = "area"

    @classmethod
    def tiny(cls) -> Self:
        return cls(recipe=Recipe(steps=2, batch=2, precise_batches=1, short_sides=(64,), test_side=64, long_side=64))

    def run(self, job: Job) -> list[Score]:
        """AP50, AP75 and AP (the mean over thresholds 0.5, 0.55, ..., 0.95), each a mean over classes.

        Raises:
            UserError: no readable picture, or no box, in the train or the test part; a diverged training.
        """
        train, bad_train = readable(job.target.source, job.division.train, job.on_progress)
        test, bad_test = readable(job.target.source, job.division.test, job.on_progress)
        for part, rows in (("train", train), ("test", test)):
            self._check(job, part, rows)
        truths = [job.target.source[row]["boxes"] for row in test.tolist()]
        judged = [self._trial(job, trial, train, test, truths) for trial in range(self.trials)]
        about = {
            "train_pictures": len(train),
            "test_pictures": len(test),
            "train_objects": sum(len(job.target.source[row]["boxes"].labels) for row in train.tolist()),
            "test_objects": int(judged[0].objects.sum()),
            "skipped": {"train": named(bad_train), "test": named(bad_test)},
        }
        return self._scores(job, judged, about)

    def _trial(self, job: Job, trial: int, train: Rows, test: Rows, truths: Sequence[Boxes]) -> Judged:
        backbone, key = job.build().to(job.device), (job.seed, "detection", trial)
        with keyed_torch(job.device, *key, "new layers"):
            model = self.detector.build(backbone, len(job.target.classes)).to(job.device)
        trainer = Trainer(model, backbone, job.target.source, job.preprocessing, self.recipe, key, job.on_progress)
        trainer.fit(train)
        return judge(trainer.find(test), truths, len(job.target.classes))

    def _scores(self, job: Job, judged: Sequence[Judged], about: dict[str, Any]) -> list[Score]:
        n = len(judged[0].objects)
        values = np.stack([trial.mean_average_precision(kind=self.kind)[:, 0] for trial in judged])  # [trials, T]
        draws = resamples(n)
        spread = np.mean([trial.mean_average_precision(draws, self.kind) for trial in judged], axis=0)  # [T, B]
        rows = {"AP50": [THRESHOLDS.index(0.5)], "AP75": [THRESHOLDS.index(0.75)], "AP": list(range(len(THRESHOLDS)))}
        covers = "bootstrap, over test pictures" + ("; not over trainings" if self.trials == 1 else "; trials averaged")
        settings = {**self._settings(), **about, "interval": covers}
        return [
            self._score(job, metric, values[:, places].mean(1), spread[places].mean(0), n, settings)
            for metric, places in rows.items()
        ]

    def _score(self, job: Job, metric: str, trials: Values, replicates: Values, n: int, settings: dict[str, Any]) -> Score:
        return Score(
            job.model,
            "run",
            "",
            self.name,
            type(self.detector).__name__,
            metric,
            float(trials.mean()),
            std=float(trials.std(ddof=1)) if len(trials) > 1 else None,
            interval=percentiles(replicates),
            n=n,
            settings=settings,
            replicates=replicates,
        )

    def _settings(self) -> dict[str, Any]:
        """Every field, nested as it is, and what is fixed in code."""
        form = {"form": type(self.detector).__name__, **asdict(self.detector)}
        fixed = {"trained_on_difficult": True, "thresholds": list(THRESHOLDS), "rule": "VOC"}
        own = {"preset": self.preset, "trials": self.trials, "kind": self.kind}
        return {**own, "detector": form, "recipe": asdict(self.recipe), **fixed}

    def _check(self, job: Job, part: str, rows: Rows) -> None:
        counted = [job.target.source[row]["boxes"] for row in rows.tolist()]
        if not sum(int((~boxes.difficult).sum()) for boxes in counted):
            what = f"none of the {len(rows)} readable {part} pictures of {job.target.name} has a box that is not difficult"
            raise UserError(f"{what}; detection needs some: give the annotations, or another division")


LAPTOP = Detection()

# Sides, steps and rates are of MoCo's released settings; the 11-point figure, the limit of 1,333 pixels, 512 sampled proposals
# and 200 batches of statistics are defaults of detectron2, which ran them. Its 16 pictures lay on 8 GPUs with synchronised
# BatchNorm: the whole batch's statistics, as one device computes them. Differs: the box loss is torchvision's smooth L1, not L1.
MOCO_C4 = Detection(
    "moco-c4",
    C4(extra_norm=True, ranked=(12_000, 6000), kept=(2000, 1000)),
    Recipe(
        steps=24_000,
        batch=16,
        rate=0.02,
        warmup=100,
        drops=(18_000, 22_000),
        clip=0,
        short_sides=tuple(range(480, 801, 32)),
        test_side=800,
        long_side=1333,
        batch_norm="batch",
        precise_batches=200,
    ),
    trials=5,
    kind="11-point",
)

# Goyal et al. state steps, rate and what is frozen; sides, decay, warm-up, 64 sampled proposals and 2 pictures on each of 2 GPUs
# are defaults of Detectron, which ran them. Differs: warm-up starts at a thousandth of the rate, not a third.
GOYAL_FROZEN = Detection(
    "goyal-frozen",
    C4(ranked=(12_000, 2000), kept=(2000, 1000), sampled=64),
    Recipe(
        steps=50_000,
        batch=4,
        rate=0.002,
        weight_decay=5e-4,
        warmup=500,
        drops=(38_000,),
        clip=0,
        short_sides=(600,),
        test_side=600,
        long_side=1000,
        freeze=4,
        batch_norm="frozen",
        precise_batches=0,
    ),
    kind="11-point",
)
