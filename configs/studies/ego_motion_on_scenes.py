"""Does moving teach more than waiting? Equivariance, slow features, motion classification and both at once, beside random init.

Every method sees as many pictures, from the same drives, through the same network and the same crops and colours; three seeds
of each. Judged on scenes with 6 and 20 labels a class, ten draws, as in Jayaraman and Grauman 2015 (6 a class on SUN397).

Data: donkeycar tubs in TUBS, 15-Scene in SCENES (environment variables). With KITTI (odometry sequences) and ROOMS (7-Scenes)
too, two more rows learn from all three: each has its own motion patterns and maps, since their motions have different units.
With DRIVES (KITTI raw layout, as `embodied-ssl simulate --task drive` writes it) instead of TUBS, all learn from those.
Measured: donkeycar, three seeds, last layer, 6 / 20 labels a class: equivariance 20.7 / 28.4 %, DrLIM 18.2 / 24.3, temporal
coherence 18.9 / 24.2, classification 18.3 / 25.5, equivariance with DrLIM 19.6 / 25.9, untrained 19.4 / 25.3, GIST 44.6 / 54.8.
Equivariance less DrLIM +2.5 [1.4, 3.6] and +4.1 [1.1, 7.2]. On three sources: equivariance 22.7 / 29.3, DrLIM 16.9 / 22.9. No
method is better than the untrained network's first layer (35.8 / 48.9) in so few minutes.
Time: on 2 CPU cores, each with a --shard of its own, about 40 minutes; 27,264 frames a run, those of 2.5 minutes of one core.
Command: TUBS=.. KITTI=.. ROOMS=.. SCENES=.. embodied-ssl study configs/studies/ego_motion_on_scenes.py --out runs/ego_motion
    and for the features themselves: embodied-ssl equivariance runs/ego_motion/runs/{equivariance,drlim}_s* --on TUBS
    --set data.in_deviations=true --size 64 --layers layer4,projection
"""

import os
from collections.abc import Mapping
from dataclasses import replace

from embodied_ssl.config import MethodConfig, Run
from embodied_ssl.configs import ego_motion_classification, ego_motion_equivariance, slow_features, slow_features_l1
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.datasets.kitti_odometry import KittiOdometry
from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.datasets.pose_folders import PoseFolders
from embodied_ssl.datasets.source import DataSpec
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.protocols.linear import Linear
from embodied_ssl.evaluation.protocols.low_shot import LowShot
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.optim import AdamW
from embodied_ssl.study import Study

cars: DataSpec = Donkeycar(os.environ.get("TUBS", ""), in_deviations=True)
if os.environ.get("DRIVES"):
    cars = KittiRaw(os.environ["DRIVES"])
others: dict[str, DataSpec] = {}
if os.environ.get("KITTI") and os.environ.get("ROOMS"):
    others = {"road": KittiOdometry(os.environ["KITTI"]), "hand": PoseFolders(os.environ["ROOMS"])}

equivariance = ego_motion_equivariance.run.method
drlim = slow_features.run.method


def on(method: MethodConfig, frames: int) -> Run:
    """One method on the cars' drives: as many examples a step as come near 192 frames."""
    return Run(method, cars, optimizer=AdamW(rate=1.5e-3), batch_size=192 // frames)


def together(tasks: Mapping[str, Task], data: Mapping[str, DataSpec]) -> Run:
    """Several tasks in every step."""
    return Run(MultiTaskConfig(tasks), data, optimizer=AdamW(rate=1.5e-3))


runs = {
    "equivariance": on(equivariance, 2),
    "drlim": on(drlim, 3),
    "temporal_coherence": on(slow_features_l1.run.method, 3),
    "classification": on(ego_motion_classification.run.method, 2),
    "equivariance_drlim": together(
        {"equivariance": Task(equivariance, batch_size=48), "drlim": Task(drlim, batch_size=32)},
        {"equivariance": cars, "drlim": cars},
    ),
}
if others:
    for name, method, frames in (("equivariance", equivariance, 2), ("drlim", drlim, 3)):
        shares = {"cars": 2 / 3, "road": 1 / 12, "hand": 1 / 4}
        tasks = {where: Task(method, weight=share, batch_size=round(192 * share / frames)) for where, share in shares.items()}
        runs[f"{name}_three_sources"] = together(tasks, {"cars": cars, **others})

study = Study(
    runs={name: replace(run, held_out_every=0) for name, run in runs.items()},
    targets=[ClassFolder(os.environ.get("SCENES", ""))],
    protocols=[Linear(), Knn(), LowShot(shots=(6, 20))],
    seeds=(0, 1, 2),
    views=27_264,
)
