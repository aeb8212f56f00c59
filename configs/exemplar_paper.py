"""Exemplar-CNN at the paper's scale: STL-10's pictures without labels, 8,000 seeds of 32 pixels, 64c5-128c5-256c5-512f.

Paper: Dosovitskiy et al. 2014, arXiv:1406.6909. Kept: the net, dropout 0.5 before the classes, the transformations and their
ranges, momentum 0.9, a rate of 0.01 lowered in steps. Different: copies are made anew instead of 150 a seed beforehand, 2 of a
seed to a batch; seeds are 22 to 43 pixels wide, resized to 32; the rate's steps, the batch and the
length (150 copies of each seed, 20 times over) are ours.
Data: STL-10 in its binary version (stl10_binary/unlabeled_X.bin).
Hardware: one GPU; about 24 million patches of 32 pixels are seen. Not run at this size here.
Command: embodied-ssl pretrain exemplar_paper --set data.root=STL10
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.stl10_unlabelled import STL10Unlabelled
from embodied_ssl.methods.image.exemplar import ExemplarConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=ExemplarConfig(size=32, classes=8000, hidden=512, dropout=0.5),
    data=STL10Unlabelled(),
    backbone=BackboneConfig("exemplar_cnn"),
    optimizer=SGD(rate=0.01),
    schedule=Schedule("step", warmup=0.0, drops=(0.5, 0.75, 0.9)),
    batch_size=64,
    steps=187_500,
    checkpoint_every=5000,
    held_out_every=5000,
)
