"""How long an evaluation will take, said before it begins: a forward pass is timed, probes are counted by their stated cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from embodied_ssl.datasets.target import Target
from embodied_ssl.evaluation.bench import Bench, Desk, Entry, Settings, fitting
from embodied_ssl.evaluation.features import frozen
from embodied_ssl.evaluation.models import Model
from embodied_ssl.evaluation.pictures import silent
from embodied_ssl.evaluation.protocol import AnyProtocol, OnFeatures
from embodied_ssl.evaluation.transfer import check, entrants

TIMED = 32  # pictures in the forward pass that is timed


@dataclass(frozen=True)
class Estimate:
    """Seconds by part; parts whose rows are known from an earlier call take none.

    Attributes:
        models: how many models will be judged, untrained ones and descriptors included.
        parts: seconds of extraction and of each protocol, over all models.
        known: model and protocol pairs whose rows are known already, of ``pairs``.
    """

    models: int
    parts: dict[str, float] = field(default_factory=dict)
    known: int = 0
    pairs: int = 0

    def line(self) -> str:
        """One line for people."""
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.parts.items() if seconds >= 1)
        known = f"; {self.known} of {self.pairs} parts are known already" if self.known else ""
        return f"about {duration(sum(self.parts.values()))} for {self.models} models" + (f": {parts}" if parts else "") + known


def estimate(models: Sequence[Model], target: Target, protocols: Sequence[AnyProtocol], settings: Settings) -> Estimate:
    """What is about to be done, roughly; costs one small forward pass.

    Raises:
        UserError: as `embodied_ssl.evaluation.transfer.evaluate`.
    """
    check(models, target, protocols, settings)
    bench = Bench(target, settings, silent)
    entries = list(entrants(models, target, protocols, settings, silent, plan_only=True))
    parts: dict[str, float] = {"features": 0.0}
    known = pairs = 0
    thousands = len(target.divisions[0].train) / 1000
    for entry in entries:
        desk = Desk(bench, entry)
        waiting = []
        for protocol in fitting(entry, protocols):
            left = [d for d in target.divisions if not bench.rows.holds(desk.key(protocol, d))]
            pairs += 1
            known += not left
            if left:
                waiting.append(protocol)
            parts[protocol.name] = parts.get(protocol.name, 0.0) + protocol.cost * thousands * len(left)
        if entry.build and any(isinstance(protocol, OnFeatures) for protocol in waiting):
            parts["features"] += _seconds_a_picture(entry, settings.device) * len(target.source)
    return Estimate(len(entries), parts, known, pairs)


def _seconds_a_picture(entry: Entry, device: str) -> float:
    assert entry.build is not None
    net = entry.build().to(device)
    pictures = torch.zeros(TIMED, net.channels, entry.preprocessing.size, entry.preprocessing.size, device=device)
    with frozen(net):
        net(pictures[:2])
        started = time.perf_counter()
        net(pictures)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
    return (time.perf_counter() - started) / TIMED


def duration(seconds: float) -> str:
    """``40 s``, ``6 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
