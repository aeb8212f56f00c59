"""Deep InfoMax on any folder of photographs, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Hjelm et al. 2019, arXiv:1808.06670 (small networks on pictures of 32 and 64 pixels).
Data: a folder of photographs; thousands to learn from.
Of 1,335 ImageNet pictures with --set method.estimator=infonce and batches of 64, a place was told from the same place of 63
held-out pictures 47 % of the time after 50 steps (chance 1.6 %; one run, 3,200 pictures).
Command: embodied-ssl pretrain deep_infomax_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.deep_infomax import DeepInfoMaxConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=DeepInfoMaxConfig(size=64),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=128,
    steps=500,
)
