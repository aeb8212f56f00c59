"""Networks of timm: tokens come on their grid, and other picture sizes than a transformer was made for pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from embodied_ssl.backbones.backbone import Backbone, Features
from embodied_ssl.backbones.wanted import Wanted
from embodied_ssl.errors import UserError, suggest


class _TimmBackbone(Backbone):
    """Any timm network that gives its intermediate maps: tokens come on their grid, and the vector is pooled as timm does."""

    def __init__(self, name: str, net: nn.Module, taken: dict[str, int], channels: int, probe_size: int, smallest: int) -> None:
        self.taken = list(taken.values())
        super().__init__(name, net, dict.fromkeys(taken, ()), channels, probe_size, smallest)

    def forward(self, pictures: Tensor) -> Features:
        self.check_side(min(pictures.shape[2:]))
        net: Any = self.net
        last, maps = net.forward_intermediates(pictures, indices=self.taken)
        return Features(dict(zip(self.stages, maps, strict=True)), net.forward_head(last, pre_logits=True))


TRANSFORMER_STAGES = 4  # of blocks that all have one resolution, those at each quarter of the depth are shown


def vit_small(config: Wanted) -> Backbone:
    """ViT-S/16 (Touvron et al. 2021, arXiv:2012.12877, after Dosovitskiy et al. 2021): 12 blocks of width 384 with 6 heads.

    timm's ``vit_small_patch16_224``, because most published weights of it bear timm's names. Positions are learned for 14 x 14
    places and resampled for pictures of other sizes; sides that are no multiple of 16 are filled up with zeros. The vector is
    the class token. Four stages: after blocks 3, 6, 9 and 12, each a sixteenth of the picture. Smallest picture: 16 pixels.
    """
    return of_timm(replace(config, name="timm:vit_small_patch16_224"), config.name, smallest=16)


def of_timm(config: Wanted, called: str = "", smallest: int = 1) -> Backbone:
    """A network of timm, without its classifier.

    Args:
        config: its name is ``timm:NAME``.
        called: the backbone's own name, if another.
        smallest: as of `Backbone`.

    Raises:
        UserError: no timm, no such network in it, or one that does not give its intermediate maps.
    """
    called = called or config.name
    try:
        import timm
    except ImportError:
        raise UserError(f"backbone '{called}' needs timm; pip install 'embodied-ssl[timm]'") from None
    name = config.name.removeprefix("timm:")
    if not timm.is_model(name):
        raise UserError(f"timm has no network '{name}'{suggest(name, timm.list_models())}")
    net = _made(timm.create_model, name, {"pretrained": False, "num_classes": 0, "in_chans": config.channels})
    if not hasattr(net, "forward_intermediates"):
        raise UserError(f"timm's '{name}' does not give its intermediate maps; choose another network")
    info = net.feature_info
    one_resolution = len({stage["reduction"] for stage in info}) == 1 and len(info) > TRANSFORMER_STAGES
    quarters = [(i + 1) * len(info) // TRANSFORMER_STAGES - 1 for i in range(TRANSFORMER_STAGES)]
    taken = quarters if one_resolution else range(len(info))
    size = net.default_cfg.get("input_size", (3, 64, 64))[1]
    return _TimmBackbone(called, net, {info[i]["module"]: i for i in taken}, config.channels, size, smallest)


def _made(create: Callable[..., Any], name: str, options: dict[str, Any]) -> Any:
    """The network, a transformer with as much freedom in picture sizes as its family offers."""
    for freedom in ({"dynamic_img_size": True, "dynamic_img_pad": True}, {"dynamic_img_size": True}):
        try:
            return create(name, **freedom, **options)
        except TypeError:
            continue
    return create(name, **options)
