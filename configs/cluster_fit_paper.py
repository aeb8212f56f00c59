"""ClusterFit at the paper's scale: a fresh ResNet-50 on 16,000 clusters of ImageNet, by a network that was trained before.

Paper: Yan et al. 2020, arXiv:1912.03330. Kept, from the authors' published program: vectors of unit length, 50 rounds of k-means
without PCA, crops of 8 to 100 % of a picture, mirrors, colours always changed (0.4 each, hue 0.2), a linear head, 256 pictures a
step at 0.1, a tenth of that after epochs 30, 60, 90 and 100 of 105, momentum 0.9, decay 0.0001, none on BatchNorm. Different: the
rate climbs from 0 in the first 5 epochs; biases are spared decay too; clusters are of the largest centred square of a picture.
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: one GPU of 32 GB or more with --set precision=bf16; 135 million pictures are seen. Not run at this size here; the
authors' program takes RotNet's ResNet-50 from 48.2 to 53.6 % (linear, top-1).
Command: embodied-ssl pretrain cluster_fit_paper --init RUN --set data.root=IMAGENET, where RUN trained a ResNet-50; or with
--set method.teacher=NETWORK in place of --init for any other network.
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.clustering.cluster_fit import ClusterFitConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=ClusterFitConfig(size=224, clusters=16_000),
    backbone=BackboneConfig("resnet50"),
    data=ImageNetFolder(root=""),
    optimizer=SGD(rate=0.1, weight_decay=1e-4, decay_norms=False),
    schedule=Schedule("step", warmup=5 / 105, drops=(30 / 105, 60 / 105, 90 / 105, 100 / 105)),
    batch_size=256,
    steps=105 * (1_281_167 // 256),
    checkpoint_every=2000,
    held_out_every=5004,
    held_out_examples=2048,
)
