"""Contrastive and clustering methods beside each other: what do pictures told apart, or grouped, without labels say of scenes?

Every run sees as many pixels through the same backbone, each method in the small form of its config; beside them the untrained
network, GIST, and SimCLR as the ``lightly`` package trains it with the same settings (`scripts/simclr_with_lightly.py`). Judged
at 96 pixels on 15-Scene (linear, nearest neighbours, 6 and 20 labels a class).

Data: photographs to pretrain on in PHOTOS, 15-Scene in SCENES, and weights made by lightly in LIGHTLY, a file for each seed
(environment variables; several with commas).
Time: about 12 minutes a run on one CPU core, and 2 to judge it.
Command: python scripts/simclr_with_lightly.py $PHOTOS lightly_s0.pth
    LIGHTLY=lightly_s0.pth PHOTOS=.. SCENES=.. embodied-ssl study configs/studies/contrastive_on_scenes.py --out runs/contrastive
    A seed of each first; with SEEDS=3 and the same --out two more are added to every row.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from embodied_ssl.config import Run
from embodied_ssl.configs import (
    cluster_fit_photos,
    cpc_photos,
    deep_cluster_photos,
    deep_cluster_v2_photos,
    deep_infomax_photos,
    deeper_cluster_photos,
    instance_discrimination_photos,
    moco_photos,
    moco_v3_photos,
    pirl_photos,
    pirl_rotation_photos,
    simclr_photos,
    swav_photos,
)
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.protocols.linear import Linear
from embodied_ssl.evaluation.protocols.low_shot import LowShot
from embodied_ssl.study import Study

photos = PictureFolder(os.environ.get("PHOTOS", ""))
configs: dict[str, Run | Sequence[Run]] = {
    "simclr": simclr_photos.run,
    "moco": moco_photos.run,
    "swav": swav_photos.run,
    "instance_discrimination": instance_discrimination_photos.run,
    "pirl": pirl_photos.run,
    "pirl_rotation": pirl_rotation_photos.run,
    "cpc": cpc_photos.run,
    "deep_infomax": deep_infomax_photos.run,
    "deep_cluster": deep_cluster_photos.run,
    "deep_cluster_v2": deep_cluster_v2_photos.run,
    "deeper_cluster": deeper_cluster_photos.run,
    "cluster_fit": cluster_fit_photos.run,
    "moco_v3": moco_v3_photos.run,
}


def on_photos(given: Run | Sequence[Run]) -> list[Run]:
    """The stages of a config on these photographs."""
    stages = [given] if isinstance(given, Run) else given
    return [replace(stage, data=photos, held_out_every=0) for stage in stages]


study = Study(
    runs={name: on_photos(given) for name, given in configs.items()},
    models={"simclr_by_lightly": [f"{file}@resnet18" for file in os.environ.get("LIGHTLY", "").split(",") if file]},
    targets=[ClassFolder(os.environ.get("SCENES", ""))],
    protocols=[Linear(), Knn(), LowShot(shots=(6, 20))],
    seeds=tuple(range(int(os.environ.get("SEEDS", "1")))),
    views=130_000,
    view_size=64,
    size=96,
)
