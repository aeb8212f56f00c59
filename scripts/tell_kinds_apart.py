"""How far one gets in naming simulated rooms without seeing any piece: by raw pixels, by colours, by edges.

Kinds are to be told apart by which pieces stand together. What a picture's colours or its pixels as they are give away beyond
chance is printed here, for the stills of a specification: trained on one part, tested on rooms that it has not seen.

python scripts/tell_kinds_apart.py [places=both] [look.textures=0] [stills.train=40] ...
"""

from __future__ import annotations

import sys
import time

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embodied_ssl.evaluation.descriptors import colour_histogram, hog, raw16
from embodied_ssl.sim.drive.collect import still_kinds
from embodied_ssl.sim.drive.command import spec_of
from embodied_ssl.sim.drive.drive import still_views
from embodied_ssl.sim.render.choose import process_renderer

SIDE = 96


def main() -> None:
    """Print the table."""
    spec = spec_of(1, 0, "", "auto", tuple(sys.argv[1:]))
    renderer, began = process_renderer(spec.renderer), time.process_time()
    pictures, labels, test = [], [], []
    for label, kind in enumerate(still_kinds(spec)):
        for number in range(spec.stills.train + spec.stills.test):
            for view in still_views(spec, kind, number, renderer)[0]:
                pictures.append(_square(view.rgb))
                labels.append(label)
                test.append(number >= spec.stills.train)
    seen, wanted, held = np.stack(pictures), np.array(labels), np.array(test)
    count, took = len(still_kinds(spec)), time.process_time() - began
    chance = 1 / count
    print(f"{len(seen)} stills of {count} kinds in {took:.0f} s; chance {100 * chance:.1f} %")
    for describe in (raw16, colour_histogram, hog):
        found = describe(seen)
        judges = {
            "nearest neighbour": KNeighborsClassifier(1),
            "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)),
        }
        for name, judge in judges.items():
            score = float(judge.fit(found[~held], wanted[~held]).score(found[held], wanted[held]))
            print(f"{describe.__name__:17} {name:17} {100 * score:5.1f} %, {score / chance:.2f} times chance")


def _square(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.asarray(cv2.resize(picture[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main()
