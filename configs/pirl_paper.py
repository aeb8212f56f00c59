"""PIRL at the paper's scale: ImageNet, ResNet-50, a crop of 224 pixels and 9 tiles of 64, 32,000 rows, 800 epochs of 1,024.

Paper: Misra and van der Maaten 2020, arXiv:1912.01991. Kept from the published program: crops of 8 to 100 % of a picture;
puzzles of 60 to 100 % of it at 255 pixels, tiles of 64 anywhere in cells of 85; colours changed every time, a fifth grey, tile
by tile; 128 numbers by a linear layer, the tiles' by two; temperature 0.07, noise-contrastive estimation, lambda 0.5, rows moved
half-way; SGD, momentum 0.9, decay 0.0001 spared on norms and biases, a rate of 0.12 that falls along a cosine. Different: the
rate ends at 0 (theirs at a thousandth); their further changes of colour are left out; see `pirl` for the loss.
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: 8 GPUs of 80 GB with torchrun and --set precision=bf16; 1,025 million pictures are seen. Not run at this size here.
Command: torchrun --nproc-per-node 8 -m embodied_ssl pretrain pirl_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.contrastive.memory_contrast import Memory
from embodied_ssl.methods.contrastive.pirl import PIRLConfig
from embodied_ssl.methods.contrastive.pirl_views import Puzzle
from embodied_ssl.optim import SGD, Schedule
from embodied_ssl.views.colour import ColourChange

EVERY_TIME = ColourChange(hue=0.2, change=1.0)

run = Run(
    method=PIRLConfig(
        size=224,
        area=(0.08, 1.0),
        colour=EVERY_TIME,
        puzzle=Puzzle(cell=85, tile=64, colour=EVERY_TIME),
        memory=Memory(negatives=32_000),
    ),
    backbone=BackboneConfig("resnet50"),
    data=ImageNetFolder(root=""),
    optimizer=SGD(rate=0.12, weight_decay=1e-4, decay_norms=False),
    schedule=Schedule(warmup=0.0),
    batch_size=1024,
    steps=800 * (1_281_167 // 1024),
    checkpoint_every=1000,
    held_out_every=5004,
    held_out_examples=2048,
)
