"""Jigsaw puzzles at the paper's scale: ImageNet, AlexNet, 9 tiles of 64 pixels, 1000 permutations, 350,000 steps of 256.

Paper: Noroozi and Favaro 2016, arXiv:1603.09246. Kept: a crop of 225 pixels of pictures whose shorter side is 256, cells of 75
and tiles of 64 (11 pixels between them on average), permutations by the greatest mean distance, each tile standardised, channels
shifted by up to 2 pixels, 30 % of the puzzles grey; 1024 numbers a tile, 4096 above them, dropout 0.5; SGD at 0.01, a tenth of it
every 100,000 steps, weight decay 0.0005. Different: BatchNorm in network and head, the first convolution keeps the stride of 4
that it has in transfer (the authors train it with 2), pictures are mirrored half of the time, biases learn no faster.
Data: the training pictures of ImageNet, or any large folder of photographs.
Hardware: one GPU of 16 GB or more with --set precision=bf16; 90 million puzzles are seen. Not run at this size here.
Command: embodied-ssl pretrain jigsaw_paper --set data.root=IMAGENET/train
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.jigsaw import JigsawConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=JigsawConfig(
        cell=75,
        tile=64,
        share=(225 / 256, 225 / 256),
        shift=2,
        permutations=1000,
        per_tile=1024,
        hidden=4096,
        dropout=0.5,
        places=2,
    ),
    data=PictureFolder(),
    backbone=BackboneConfig("alexnet"),
    optimizer=SGD(rate=0.01, weight_decay=5e-4),
    schedule=Schedule("step", warmup=0.0, drops=(2 / 7, 4 / 7, 6 / 7)),
    batch_size=256,
    steps=350_000,
    checkpoint_every=2000,
    held_out_every=5000,
)
