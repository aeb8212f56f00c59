"""Rotation and SimCLR beside random init, on scenes: does asking which way is up help to tell a kitchen from a forest?

Data: photographs to pretrain on in PHOTOS, and 15-Scene in SCENES (environment variables; several folders with commas).
Time: about 4 minutes a run and seed on one CPU core, then a minute or two to judge each; 60,000 views a run.
Command: PHOTOS=.. SCENES=.. embodied-ssl study configs/studies/pictures_on_scenes.py --out runs/pictures_on_scenes
"""

import os
from dataclasses import replace

from embodied_ssl.configs import rotation_photos, simclr_photos
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.study import Study

photos = PictureFolder(os.environ.get("PHOTOS", ""))

study = Study(
    runs={
        "rotation": replace(rotation_photos.run, data=photos, method=RotationConfig(size=64), batch_size=48),
        "simclr": replace(simclr_photos.run, data=photos),
    },
    targets=[ClassFolder(os.environ.get("SCENES", ""))],
    seeds=(0, 1),
    views=60_000,
)
