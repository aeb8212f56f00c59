"""The classic pretext tasks beside each other: does asking about turns, patches, puzzles or exemplars help to tell scenes apart?

Every run sees as many *pixels* through the same backbone, since a tile of a puzzle costs a fifth of a picture; each task is in
the small form of its config, rotation also with the consistency term, and all of them together. Judged at 96 pixels on 15-Scene
(linear, nearest neighbours, 6 and 20 labels a class), beside random init and GIST; each task's own held-out answers stand beside
their chance.

Measured on 1,335 ImageNet samples, 300 of BSDS500 and 15-Scene's training pictures without labels; one seed, but three of
rotation and of the untrained network; its own question held out (chance), then linear and nearest neighbours on the last layer:
    exemplar                 0.47 (0.016)    52.3          41.8
    rotation                 0.57 (0.25)     48.5 +- 0.9   38.5 +- 0.5
    rotation, consistent     0.53 (0.25)     46.5          36.3
    jigsaw                   0.41 (0.042)    43.3          31.4
    exemplar, triplets       0.38 (0.016)    42.2          33.0
    jigsaw++                 0.31 (0.042)    39.8          30.0
    relative patches         0.21 (0.125)    35.9          25.2
    four together            0.45, 0.15, 0.17, 0.06    32.5    23.4
    untrained                                33.0 +- 1.7   25.1 +- 1.2
    GIST                                     64.3          55.9
Rotation is 15.4 [11.9, 19.0] and 13.4 [10.9, 15.9] points above the untrained network. Four tasks that share the budget of one
learn little of any. On the best layer, which is an early one, no task is clearly above the untrained network's stem (57.5).
Data: photographs to pretrain on in PHOTOS, and 15-Scene in SCENES (environment variables; several folders with commas).
Time: about 4 minutes a run on one CPU core, and 3 to judge it.
Command: PHOTOS=.. SCENES=.. embodied-ssl study configs/studies/pretext_tasks_on_scenes.py --out runs/pretext_tasks
    A seed of each first; with SEEDS=3 and the same --out two more are added to every row.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

from embodied_ssl.config import Run
from embodied_ssl.configs import (
    exemplar_photos,
    exemplar_triplet_photos,
    jigsaw_photos,
    jigsaw_plus_photos,
    pretext_together_photos,
    relative_patch_photos,
    rotation_consistent_photos,
    rotation_photos,
)
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.protocols.linear import Linear
from embodied_ssl.evaluation.protocols.low_shot import LowShot
from embodied_ssl.methods.consistent import ConsistentConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.study import Study

photos = PictureFolder(os.environ.get("PHOTOS", ""))
turns = RotationConfig(size=64)
runs = {
    "rotation": replace(rotation_photos.run, method=turns, batch_size=48),
    "rotation_consistent": replace(
        rotation_consistent_photos.run, method=ConsistentConfig(turns, temperature=0.4), batch_size=24
    ),
    "relative_patch": relative_patch_photos.run,
    "jigsaw": jigsaw_photos.run,
    "jigsaw_plus": jigsaw_plus_photos.run,
    "exemplar": exemplar_photos.run,
    "exemplar_triplet": exemplar_triplet_photos.run,
    "together": pretext_together_photos.run,
}


def on_photos(run: Run) -> Run:
    """The run on these photographs: of several tasks, all of them."""
    data = dict.fromkeys(run.data, photos) if isinstance(run.data, Mapping) else photos
    return replace(run, data=data, held_out_every=0)


study = Study(
    runs={name: on_photos(run) for name, run in runs.items()},
    targets=[ClassFolder(os.environ.get("SCENES", ""))],
    protocols=[Linear(), Knn(), LowShot(shots=(6, 20))],
    seeds=tuple(range(int(os.environ.get("SEEDS", "1")))),
    views=43_392,  # what rotation sees in 226 steps of 48 pictures in four turns
    view_size=64,
    size=96,
)
