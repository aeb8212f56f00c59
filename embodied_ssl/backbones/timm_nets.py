"""Networks of timm: tokens come on their grid, and other picture sizes than a transformer was made for pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from embodied_ssl.backbones.backbone import Backbone, Features
from embodied_ssl.errors import UserError, suggest

if TYPE_CHECKING:
    from embodied_ssl.backbones.config import BackboneConfig


class _TimmBackbone(Backbone):
    """Any timm network that gives its intermediate maps: tokens come on their grid, and the vector is pooled as timm does."""

    def __init__(self, name: str, net: nn.Module, taken: dict[str, int], channels: int, probe_size: int) -> None:
        self.taken = list(taken.values())
        super().__init__(name, net, dict.fromkeys(taken, ()), channels, probe_size)

    def forward(self, pictures: Tensor) -> Features:
        net: Any = self.net
        last, maps = net.forward_intermediates(pictures, indices=self.taken)
        return Features(dict(zip(self.stages, maps, strict=True)), net.forward_head(last, pre_logits=True))


TRANSFORMER_STAGES = 4  # of blocks that all have one resolution, those at each quarter of the depth are shown


def of_timm(config: BackboneConfig) -> Backbone:
    try:
        import timm
    except ImportError:
        raise UserError(f"backbone '{config.name}' needs timm; pip install 'embodied-ssl[timm]'") from None
    name = config.name.removeprefix("timm:")
    if not timm.is_model(name):
        raise UserError(f"timm has no network '{name}'{suggest(name, timm.list_models())}")
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": config.channels}
    net: Any
    try:
        net = timm.create_model(name, dynamic_img_size=True, **options)  # transformers that can take other sizes
    except TypeError:
        net = timm.create_model(name, **options)
    if not hasattr(net, "forward_intermediates"):
        raise UserError(f"timm's '{name}' does not give its intermediate maps; choose another network")
    info = net.feature_info
    one_resolution = len({stage["reduction"] for stage in info}) == 1 and len(info) > TRANSFORMER_STAGES
    quarters = [(i + 1) * len(info) // TRANSFORMER_STAGES - 1 for i in range(TRANSFORMER_STAGES)]
    taken = quarters if one_resolution else range(len(info))
    size = net.default_cfg.get("input_size", (3, 64, 64))[1]
    return _TimmBackbone(config.name, net, {info[i]["module"]: i for i in taken}, config.channels, probe_size=size)
