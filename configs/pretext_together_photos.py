"""Four questions about photographs on one backbone at once: turns, puzzles, patches and exemplars. ResNet-18, sized for a laptop.

Paper: Doersch and Zisserman 2017, arXiv:1708.07860 (ResNet-101; exemplar and relative position among its four tasks); the tasks
here are from the papers that their own configs name. About as many pictures go through the network for each task.
Data: one folder of photographs for all, or one each; an up must be recognisable, and sides be of 100 pixels at the least.
Command: embodied-ssl pretrain pretext_together_photos --set data.rotation.root=PHOTOS --set data.jigsaw.root=PHOTOS
    --set data.relative_patch.root=PHOTOS --set data.exemplar.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.exemplar import ExemplarConfig
from embodied_ssl.methods.image.jigsaw import JigsawConfig
from embodied_ssl.methods.image.relative_patch import RelativePatchConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.optim import AdamW

run = Run(
    method=MultiTaskConfig(
        tasks={
            "rotation": Task(RotationConfig(size=96), batch_size=8),
            "jigsaw": Task(JigsawConfig(cell=32, tile=28, permutations=24, puzzles=4), batch_size=32),
            "relative_patch": Task(RelativePatchConfig(size=48, grids=1), batch_size=12),
            "exemplar": Task(ExemplarConfig(size=64, classes=1000), weight=0.5, batch_size=32),
        },
    ),
    data={
        "rotation": PictureFolder(),
        "jigsaw": PictureFolder(),
        "relative_patch": PictureFolder(),
        "exemplar": PictureFolder(),
    },
    optimizer=AdamW(rate=1.5e-3),
    steps=300,
)
