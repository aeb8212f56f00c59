"""DeeperCluster at nearly the paper's scale: VGG-16 on edges at 224 pixels, four turns, clusters found anew every 3 epochs.

Paper: Caron et al. 2019, arXiv:1905.01278. Kept, from the authors' program: Sobel's filters, VGG-16 with BatchNorm and its two
layers of 4,096, 4,096 principal components, 4 groups in 4 turns, 10 rounds of k-means, crops of 8 to 100 % of a picture and
mirrors, an even order over clusters, 3,072 pictures a step (theirs 48 on each of 64 GPUs) at a constant rate of 0.1, momentum
0.9, decay 0.00001, 100 epochs. Different: the features of their 96 million pictures of YFCC are 1.6 TB, more than the one process
that clusters them here can hold; so this is ImageNet, with 10,000 clusters as in DeepCluster (theirs 320,000). The last map has
7 x 7 places, all of them read.
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: GPUs of 80 GB or more with --set accumulate=8 --set precision=bf16; 128 million pictures are learned from. Not run at
this size here.
Command: embodied-ssl pretrain deeper_cluster_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.clustering.deeper_cluster import DeeperClusterConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=DeeperClusterConfig(size=224, groups=4, clusters=2500, components=4096, hidden=4096, cells=7),
    data=ImageNetFolder(root=""),
    backbone=BackboneConfig("vgg16", channels=2),
    optimizer=SGD(rate=0.1, weight_decay=1e-5),
    schedule=Schedule("constant", warmup=0.0),
    batch_size=3072,
    steps=100 * (1_281_167 // 3072),
    checkpoint_every=417,
    held_out_every=417,
    held_out_examples=2048,
)
