"""Everything at once on simulated data, ResNet-18 at 64 pixels: what `make demo` trains, in about four minutes on two cores.

Paper: the five tasks' own, see their configs.
Data: `embodied-ssl simulate` (interactions, and drives with their films and frames); `make demo` makes it.
Command: make demo
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.interactions import Interactions
from embodied_ssl.datasets.kitti_raw import KittiRaw
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
            "rotation": Task(RotationConfig(size=64), batch_size=12),
            "simclr": Task(SimCLRConfig(size=64, area=(0.2, 1.0)), batch_size=64),
            "temporal_order": Task(TemporalOrderConfig(size=64, tau_min=5, tau_max=20, tuples=4), batch_size=12),
            "ego_motion": Task(EgoMotionEquivarianceConfig(size=64), batch_size=24),
            "interaction": Task(InteractionConfig(size=64), batch_size=24),
        },
    ),
    data={
        "rotation": PictureFolder(),
        "simclr": PictureFolder(),
        "temporal_order": VideoFolder(short_side=96),
        "ego_motion": KittiRaw(),
        "interaction": Interactions(),
    },
    optimizer=AdamW(rate=1.5e-3),
    steps=220,
    checkpoint_every=50,
    held_out_every=55,
    held_out_examples=128,
)
