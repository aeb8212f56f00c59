"""All five kinds of supervision on one backbone at once, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Doersch and Zisserman 2017, arXiv:1708.07860 (ResNet-101, four image tasks); the tasks here are from the papers that
their own configs name.
Data: photographs, videos, donkeycar tubs and simulated interactions.
Command: embodied-ssl pretrain multi_task --set data.rotation.root=PHOTOS --set data.simclr.root=PHOTOS
    --set data.temporal_order.root=VIDEOS --set data.ego_motion.root=TUBS --set data.interaction.root=DATA
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.datasets.interactions import Interactions
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.embodied.interaction import InteractionConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.methods.video.temporal_order import TemporalOrderConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=MultiTaskConfig(
        tasks={
            "rotation": Task(RotationConfig(size=64), batch_size=16),
            "simclr": Task(SimCLRConfig(size=64, area=(0.2, 1.0)), weight=0.5, batch_size=64),
            "temporal_order": Task(TemporalOrderConfig(size=64, tuples=4), batch_size=16),
            "ego_motion": Task(EgoMotionEquivarianceConfig(size=64), batch_size=32),
            "interaction": Task(InteractionConfig(size=64), batch_size=32),
        },
    ),
    data={
        "rotation": PictureFolder(),
        "simclr": PictureFolder(),
        "temporal_order": VideoFolder(),
        "ego_motion": Donkeycar(in_deviations=True),
        "interaction": Interactions(),
    },
    optimizer=AdamW(rate=1e-3),
    steps=400,
)
