"""RotNet on CIFAR-10 as in the paper: NIN of four blocks at 32 pixels, 200 epochs of 128 pictures a step, each in four turns.

Paper: Gidaris et al. 2018, arXiv:1803.07728. Kept from the authors' published code: crops that are the whole picture shifted by
up to 4 pixels, and mirrors, before the turn; a linear layer after the mean over the last map; SGD with Nesterov momentum, decay
0.0005 of everything, a rate of 0.1 that falls to a fifth after 60, 120 and 160 epochs. Different: pictures are normalised by
ImageNet's mean and deviation, as all are here. What transfers is ``block2``: later blocks are about turns, not about things.
Data: CIFAR-10, the Python version; the answers held out are about its 10,000 test pictures. Labels are not read.
Hardware: a GPU with --set precision=bf16, 40 million pictures of 32 pixels are seen. Not run at this size here.
Command: embodied-ssl pretrain rotation_cifar --set data.root=CIFAR
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.cifar import CIFAR10
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=RotationConfig(size=32, padding=4),
    backbone=BackboneConfig("nin"),
    data=CIFAR10(root=""),
    optimizer=SGD(rate=0.1, nesterov=True, weight_decay=5e-4),
    schedule=Schedule("step", warmup=0.0, drops=(0.3, 0.6, 0.8), gamma=0.2),
    batch_size=128,
    steps=200 * (50_000 // 128),
    checkpoint_every=1000,
    held_out_every=3900,
    held_out_examples=2048,
)
