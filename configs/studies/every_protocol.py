"""Every protocol once, for networks trained before: scenes, several things a picture, boxes, and a class for every pixel.

Data: DATA is a folder with scene15/ (class folders), coco128/ (COCO), raccoon_voc/ (Pascal VOC) and camvid/ (mask folders);
RUNS are run folders with commas between.
Time: on 2 CPU cores about 15 minutes a network, half of it detection; untrained networks are judged once, whatever the runs.
Command: DATA=.. RUNS=runs/rotation,runs/simclr embodied-ssl study configs/studies/every_protocol.py --out runs/every_protocol

Detection is cut to 60 steps and two untrained networks stand for random init, so that a laptop makes the table in an hour. That
shows that everything runs and how wide the intervals are; 26 and 34 test pictures with boxes rank nothing.
"""

import os
from dataclasses import replace
from pathlib import Path

from embodied_ssl import discover
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.coco import Coco
from embodied_ssl.datasets.mask_folders import MaskFolders
from embodied_ssl.datasets.voc import Voc
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.protocols.detection import Detection
from embodied_ssl.study import Study

data = Path(os.environ.get("DATA", "."))
runs = [path for path in os.environ.get("RUNS", "runs/rotation,runs/simclr").split(",") if path]
usual = Detection()
short = replace(usual, preset="60 steps", recipe=replace(usual.recipe, steps=60, drops=(42, 54), warmup=20))

study = Study(
    runs={},
    models={Path(path).name: path for path in runs},
    targets=[ClassFolder(f"{data}/scene15"), Coco(f"{data}/coco128"), Voc(f"{data}/raccoon_voc"), MaskFolders(f"{data}/camvid")],
    protocols=[short if kind is Detection else kind() for kind in discover.protocols().values()],
    settings=Settings(random_seeds=(0, 1)),
)
