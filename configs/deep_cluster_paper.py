"""DeepCluster at the paper's scale: ImageNet, AlexNet on edges at 224 pixels, 10,000 clusters found anew in each of 500 epochs.

Paper: Caron et al. 2018, arXiv:1807.05520. Kept: Sobel's filters, two fully connected layers of 4,096 with dropout whose output
before the last ReLU is clustered, 256 principal components, 10,000 clusters by 20 rounds of k-means, crops of 8 to 100 % of a
picture and mirrors, an even order over clusters, 256 pictures a step at a constant rate of 0.05, momentum 0.9, decay 0.00001.
Different: AlexNet's last map has 7 x 7 places (theirs 6 x 6); the new head of each epoch is trained by the same optimiser (theirs
by plain descent of its own).
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: one GPU of 16 GB or more; 640 million pictures are learned from and as many looked at. Not run at this size here.
Command: embodied-ssl pretrain deep_cluster_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.clustering.deep_cluster import DeepClusterConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=DeepClusterConfig(size=224, clusters=10_000, components=256, hidden=4096, cells=7),
    data=ImageNetFolder(root=""),
    backbone=BackboneConfig("alexnet", channels=2),
    optimizer=SGD(rate=0.05, weight_decay=1e-5),
    schedule=Schedule("constant", warmup=0.0),
    batch_size=256,
    steps=500 * (1_281_167 // 256),
    checkpoint_every=2000,
    held_out_every=5004,
    held_out_examples=2048,
)
