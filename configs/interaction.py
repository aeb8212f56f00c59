"""The Curious Robot's grasps, pushes and pokes on a shared trunk, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Pinto et al. 2016, arXiv:1604.01360 (AlexNet-like trunk, about 130,000 interactions of a Baxter).
Data: `embodied-ssl simulate --episodes 3000 --out DATA` (minutes on a laptop).
Command: embodied-ssl pretrain interaction --set data.root=DATA
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.interactions import Interactions
from embodied_ssl.methods.embodied.interaction import InteractionConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=InteractionConfig(size=64),
    data=Interactions(),
    optimizer=AdamW(rate=1e-3),
    batch_size=64,
    steps=400,
)
