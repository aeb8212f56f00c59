"""Pretext task x backbone: does the ranking of the tasks hold from one architecture to another?

Kolesnikov, Zhai and Beyer 2019 (arXiv:1901.09005) found that it does not. Every row is judged on scenes, by a linear probe and by
nearest neighbours, on its best and its last layer, beside the *same* backbone untrained; a small table of tasks x backbones comes
before the long ones. All are judged at 96 pixels, and as many pixels pass through all in training; what differs between
columns is the architecture, and for the ViT rate and decay, which are those usual for a ViT.

Data: photographs to pretrain on in PHOTOS, and 15-Scene in SCENES (environment variables; several folders with commas).
Time: 30,000 views of 64 pixels a row, about 2 minutes on one CPU core for ResNet-18, and as much again for judging
(untrained networks are judged once for each backbone). The others take, times ResNet-18: AlexNet 0.4, GoogLeNet 1, DenseNet-121
2, ViT-S/16 2, ResNet-50 2.2, NIN 6.5 and VGG-16 7 in training; in judging 0.5, 1.1, 2.2, 2.7, 2.5, 9 and 8.
Command: PHOTOS=.. SCENES=.. embodied-ssl study configs/studies/pretext_by_architecture.py --out runs/pretext_by_architecture
A part of it: --shard 0/4 to 3/4 on each of four machines that share the folder.
"""

import os
from dataclasses import replace

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.configs import exemplar_photos, jigsaw_photos, relative_patch_photos, rotation_photos
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.protocols.linear import Linear
from embodied_ssl.methods.image.exemplar import ExemplarConfig
from embodied_ssl.methods.image.jigsaw import JigsawConfig
from embodied_ssl.methods.image.relative_patch import RelativePatchConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.optim import AdamW
from embodied_ssl.study import Study

photos = PictureFolder(os.environ.get("PHOTOS", ""))

# In the order of their cost, so that a study cut short has whole columns. No patch may be under DenseNet-121's 29 pixels.
BACKBONES = ("alexnet", "resnet18", "googlenet", "densenet121", "vit_small", "resnet50", "nin", "vgg16")
TASKS = {
    "rotation": replace(rotation_photos.run, method=RotationConfig(size=64), batch_size=48),
    "relative_patch": replace(relative_patch_photos.run, method=RelativePatchConfig(size=48, grids=2)),
    "jigsaw": replace(jigsaw_photos.run, method=JigsawConfig(cell=36, tile=32, permutations=24, puzzles=4), batch_size=64),
    "exemplar": replace(exemplar_photos.run, method=ExemplarConfig(size=64, classes=300)),
}
RATES = {"vit_small": AdamW(rate=5e-4, weight_decay=0.05)}

study = Study(
    runs={
        f"{task}_{backbone}": replace(
            run, data=photos, backbone=BackboneConfig(backbone), optimizer=RATES.get(backbone, run.optimizer)
        )
        for backbone in BACKBONES
        for task, run in TASKS.items()
    },
    targets=[ClassFolder(os.environ.get("SCENES", ""))],
    protocols=[Linear(), Knn()],
    views=30_000,
    view_size=64,
    size=96,
)
