"""ClusterFit on any folder of photographs in two stages: RotNet, then a fresh network on its clusters; ResNet-18, for a laptop.

Paper: Yan et al. 2020, arXiv:1912.03330 (ResNet-50 at 224 pixels, 16,000 clusters of ImageNet, 105 epochs on 8 GPUs).
Data: a folder of photographs; an up must be recognisable. Thousands to learn from.
Command: embodied-ssl pretrain cluster_fit_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.clustering.cluster_fit import ClusterFitConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.optim import AdamW

run = [
    Run(
        method=RotationConfig(size=64),
        data=PictureFolder(),
        optimizer=AdamW(rate=1.5e-3),
        batch_size=32,
        steps=400,
    ),
    Run(
        method=ClusterFitConfig(size=64, area=(0.2, 1.0)),
        data=PictureFolder(),
        optimizer=AdamW(rate=1.5e-3),
        batch_size=128,
        steps=500,
    ),
]
