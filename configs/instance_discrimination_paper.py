"""Instance discrimination at the paper's scale: ImageNet, ResNet-50 at 224 pixels, 4,096 rows of noise, 200 epochs of 256.

Paper: Wu et al. 2018, arXiv:1805.01978. Kept from the authors' published program: crops of 20 to 100 % of a picture, colours
changed every time and a fifth of the pictures grey, 128 numbers by a linear layer, temperature 0.07, noise-contrastive
estimation, rows moved half-way; SGD at 0.03, momentum 0.9, decay 0.0001 of everything, a tenth of the rate from epochs 120 and
160 on. Different: rows start on the sphere; how colours are changed. The proximal term of the paper, which the program lacks:
--set method.memory.proximal=30.
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: the bank takes 0.66 GB, one GPU of 40 GB or more with --set precision=bf16; 256 million pictures are seen. Not run at
this size here.
Command: embodied-ssl pretrain instance_discrimination_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.contrastive.instance_discrimination import InstanceDiscriminationConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=InstanceDiscriminationConfig(size=224),
    backbone=BackboneConfig("resnet50"),
    data=ImageNetFolder(root=""),
    optimizer=SGD(rate=0.03, weight_decay=1e-4),
    schedule=Schedule("step", warmup=0.0, drops=(0.6, 0.8)),
    batch_size=256,
    steps=200 * (1_281_167 // 256),
    checkpoint_every=2000,
    held_out_every=5004,
    held_out_examples=2048,
)
