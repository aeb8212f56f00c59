"""DeepCluster-v2 on any folder of photographs, ResNet-18 at 64 and 32 pixels, sized for a laptop.

Paper: Caron et al. 2020, arXiv:2006.09882, appendix (ResNet-50, 3 x 3,000 clusters, 800 epochs of ImageNet in batches of 4,096).
Here 3 x 128 clusters for thousands of pictures, and a norm after the head, as in swav_photos.
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain deep_cluster_v2_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.clustering.deep_cluster_v2 import DeepClusterV2Config
from embodied_ssl.optim import AdamW

run = Run(
    method=DeepClusterV2Config(size=64, small_size=32, small=4, prototypes=128, norm_out=True),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=64,
    steps=600,
)
