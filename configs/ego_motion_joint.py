"""Supervised: ego-motion equivariance with a few labels (6 of each class), ResNet-18 at 64 pixels, sized for a laptop.

Paper: Jayaraman and Grauman 2015, arXiv:1505.02206: L = L_softmax + lambda L_E, one network, labelled pictures and unlabelled
pairs in every step. Lambda is ``method.tasks.ego_motion.weight``; theirs is chosen on a grid, by labelled pictures set aside.
Data: donkeycar tubs, and a folder of labelled pictures (train/CLASS, test/CLASS) of which ``data.labels.shots`` of each class
are drawn, by ``data.labels.draw``, from the train part: the same as those of draw 0, 1, .. of the protocols with few labels.
Held-out figures of ``labels`` are the network's own accuracy on the test part: the paper's figure. Its ``clsnet`` is the same
with --set method.tasks.ego_motion.weight=0.
Time: about 9 minutes of one CPU core.
Command: embodied-ssl pretrain ego_motion_joint --set data.ego_motion.root=TUBS --set data.labels.root=SCENES
    --set method.tasks.labels.method.classes=15
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.datasets.few_shots import FewShots
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.image.classification import ClassificationConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.optim import AdamW

run = Run(
    method=MultiTaskConfig(
        tasks={
            "labels": Task(ClassificationConfig(size=64), batch_size=32),
            "ego_motion": Task(EgoMotionEquivarianceConfig(size=64), weight=1.0, batch_size=64),
        },
    ),
    data={"labels": FewShots(), "ego_motion": Donkeycar(in_deviations=True)},
    optimizer=AdamW(rate=1e-3),
    steps=400,
)
