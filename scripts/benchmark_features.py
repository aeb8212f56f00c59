"""How much feature extraction costs beside the bare forward pass: from squares in memory, and from JPEG files.

The three are timed in turn, several times, in one run; ratios are of medians.
Command: python scripts/benchmark_features.py SCENES [--pictures 1000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.datasets.target import Part
from embodied_ssl.distributed import choose_device, use_bf16
from embodied_ssl.evaluation.features import extract, frozen
from embodied_ssl.evaluation.pictures import Preprocessing, read_pictures
from embodied_ssl.evaluation.targets import open_target

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", default="resnet18")
    given = parser.parse_args()
    source = open_target(given.scenes).source
    part = Part(source, np.linspace(0, len(source) - 1, min(given.pictures, len(source))).astype(np.intp))
    device = choose_device("auto")
    net, how = BackboneConfig(given.backbone).build().to(device), Preprocessing()
    squares = read_pictures(part, how)
    shape = (BATCH, 3, how.size, how.size)
    ready = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with frozen(net), torch.autocast(device.type, torch.bfloat16, enabled=use_bf16("auto", device)):
            for _ in range(len(part) // BATCH):
                net(ready)
        if device.type == "cuda":
            torch.cuda.synchronize()

    timed: dict[str, tuple[Callable[[], object], list[float]]] = {
        "bare forward pass": (bare, []),
        "from squares": (lambda: extract(net, how, squares, device, BATCH, precision="auto"), []),
        "from files": (lambda: extract(net, how, part, device, BATCH, precision="auto"), []),
    }
    for _ in range(given.repeats + 1):
        for work, times in timed.values():
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    counts = {"bare forward pass": len(part) // BATCH * BATCH}
    each = {name: statistics.median(times[1:]) / counts.get(name, len(part)) for name, (_, times) in timed.items()}
    for name, seconds in each.items():
        print(f"{name:20} {1000 * seconds:.2f} ms a picture, {seconds / each['bare forward pass']:.2f} x")


if __name__ == "__main__":
    main()
