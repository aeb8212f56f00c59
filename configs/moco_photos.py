"""MoCo v2 on any folder of photographs, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Chen et al. 2020, arXiv:2003.04297 (ResNet-50 at 224 pixels, a queue of 65,536 keys, 200 epochs of ImageNet, on 8 GPUs).
The queue is short because the pictures are few: over a longer one would hang a picture's own older keys. The momentum is 0.99
because the run is short: half of what the slow copy was is gone after 69 steps, a seventh of the run (0.999: 693, longer than the
run). Tried once in 120 steps at 32 pixels, too short to compare features: a copy that forgets half in a seventh of the run (0.96)
had spread its queries (0.35 of what fills the sphere), with a faster one (0.9) they were still all alike (0.04).
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain moco_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.moco import MoCoConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=MoCoConfig(size=64, queue=1024, momentum=0.99, groups=4),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=128,
    steps=500,
)
