"""NYU Depth v2: 1,449 indoor pictures with Kinect depth, officially 795 to train and 654 to test (Silberman et al. 2012).

Two layouts: ``nyu_depth_v2_labeled.mat`` with ``splits.mat``, as published; or the folders that many depth repositories unpack it
to: ``train/SCENE/rgb_00000.jpg`` with ``sync_depth_00000.png`` (16 bits, millimetres) and ``test/`` likewise.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.labelled import check_complete, one_after_the_other, target_of_files
from embodied_ssl.datasets.io.pictures import crop_and_resize, encode
from embodied_ssl.datasets.source import Box, Pixels, Sample
from embodied_ssl.datasets.target import ArrayPlane, Division, LabelledPictures, Plane, Rows, Target, TargetSpec, stored_values
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator

MAT, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
OFFICIAL = (795, 654)
MILLIMETRES = 1000.0  # in a metre


class DepthFile(ArrayPlane):
    """A 16-bit single-channel picture of millimetres, 0 for unknown; read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def values(self) -> NDArray[Any]:  # type: ignore[override]
        values = stored_values(self.path)
        if values.ndim != 2 or values.dtype == np.uint8:
            raise BadItem(str(self.path), f"holds {values.ndim}-dimensional {values.dtype}; depth is 16 bits of millimetres")
        return values.astype(np.float32) / np.float32(MILLIMETRES)


@dataclass(frozen=True)
class NyuDepth(TargetSpec):
    """Pictures with metres at every pixel.

    Args:
        root: the folder with the two ``.mat`` files, or with ``train/`` and ``test/`` (also below ``official_splits/``).
        raw: of the ``.mat``: the depth that the sensor measured, with holes, instead of the filled one.
    """

    protocol: ClassVar[str] = "NYU Depth v2: nyu_depth_v2_labeled.mat with splits.mat, or train/SCENE/rgb_*.jpg with depth pngs"
    root: str
    raw: bool = False

    def target(self) -> Target:
        """Depths of the official split. Recordings are scenes.

        Raises:
            UserError: no such layout, a file is missing, h5py is missing (for the ``.mat``), or it is another split.
        """
        root = self.folder
        if (root / MAT).exists():
            return self._from_mat(root)
        folder = root / "official_splits" if (root / "official_splits").is_dir() else root
        if not (folder / "train").is_dir():
            raise UserError(
                f"'{root}' holds no NYU Depth v2; accepted: {MAT} with {SPLITS}, or train/SCENE/rgb_00000.jpg with "
                "sync_depth_00000.png and test/ likewise"
            )
        return _from_folders(root, folder)

    def _from_mat(self, root: Path) -> Target:
        check_complete([SPLITS] if not (root / SPLITS).exists() else [], 2, "files", root)
        source = MatPictures(root / MAT, self.raw)
        division = _official(root / SPLITS, len(source))
        note = f"official split, {len(division.train)} train and {len(division.test)} test pictures; "
        note += "depth as measured, with holes" if self.raw else "depth with its holes filled"
        return Target("NYU Depth v2", source, (division,), (), note)

    @classmethod
    def tiny(cls, folder: Path) -> Self:
        """Unpacked folders: 3 scenes of 4 train and 2 of 3 test pictures, 64 x 48 pixels, a floor that recedes upwards."""
        for part, scenes, count in (("train", ("bathroom", "kitchen", "office"), 4), ("test", ("bathroom", "kitchen"), 3)):
            for scene in scenes:
                place = folder / part / scene
                place.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    pixels, metres = tiny_view(f"{part} {scene}", number)
                    (place / f"rgb_{number:05d}.jpg").write_bytes(encode(pixels, ".jpg"))
                    millimetres = np.round(metres * MILLIMETRES).astype(np.uint16)
                    (place / f"sync_depth_{number:05d}.png").write_bytes(cv2.imencode(".png", millimetres)[1].tobytes())
        return cls(str(folder))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """The ``.mat`` file, ``official_splits/``, or a depth picture in ``train/`` or in its first scene."""
        if (folder / MAT).exists() or (folder / "official_splits" / "train").is_dir():
            return True
        train = folder / "train"
        scenes = sorted(path for path in train.iterdir() if path.is_dir()) if train.is_dir() else []
        return any(next(place.glob("*depth_*.png"), None) is not None for place in (train, *scenes[:1]))


def _from_folders(root: Path, folder: Path) -> Target:
    parts = [_pairs(folder / part) for part in ("train", "test")]
    pairs = [pair for part in parts for pair in part]
    recordings = [_scene(folder, picture) for picture, _ in pairs]
    counts = len(parts[0]), len(parts[1])
    how = f"split as given in train/ and test/, {counts[0]} and {counts[1]} pictures"
    how += "" if counts == OFFICIAL else f" (the official split has {OFFICIAL[0]} and {OFFICIAL[1]})"
    depths = [DepthFile(depth) for _, depth in pairs]
    title = f"{root.resolve().name} ({len(pairs)} pictures, {how})"
    source = LabelledPictures(title, [picture for picture, _ in pairs], recordings, depths=depths)
    return target_of_files(root.resolve().name, source, one_after_the_other(*counts), (), how)


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Every ``rgb_X`` with its ``sync_depth_X.png`` or ``depth_X.png`` beside it, sorted."""
    pictures = sorted(path for path in folder.rglob("rgb_*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not pictures:
        raise UserError(f"'{folder}' holds no rgb_*.jpg or rgb_*.png; complete the copy: train/ and test/ are needed")
    found, missing = [], []
    for picture in pictures:
        number = picture.stem.removeprefix("rgb_")
        names = (f"sync_depth_{number}.png", f"depth_{number}.png")
        depth = next((picture.with_name(name) for name in names if picture.with_name(name).exists()), None)
        if depth is None:
            missing.append(str(picture.with_name(names[0]).relative_to(folder)))
        else:
            found.append((picture, depth))
    check_complete(missing, len(pictures), "depth pictures", folder)
    return found


def _scene(folder: Path, picture: Path) -> str:
    """The scene's folder; a picture that lies in none is its own recording. Train and test never share one."""
    relative = picture.relative_to(folder)
    return relative.parent.as_posix() if len(relative.parts) > 2 else relative.with_suffix("").as_posix()


class MatPictures(LabelledPictures):
    """The pictures of the published ``.mat`` (HDF5), read one by one, so that 3 GB need not be in memory.

    Raises:
        UserError: h5py is not installed, or the file is cut short or another one.
    """

    def __init__(self, path: Path, raw: bool) -> None:
        self.path = path
        column = "rawDepths" if raw else "depths"
        try:
            with _h5py().File(path, "r") as file:
                count = len(file["images"])
                lengths = {name: len(file[name]) for name in ("images", column)}
                scenes = ["".join(map(chr, np.asarray(file[place]).ravel())) for place in np.asarray(file["scenes"]).ravel()]
        except (OSError, KeyError) as error:
            what = str(error).replace("\n", " ")
            raise UserError(f"'{path}' cannot be read as NYU Depth v2 ({what}); copy it anew: it is HDF5 of 2.8 GB") from None
        if len(scenes) != count or lengths[column] != count:
            raise UserError(f"'{path}' has {count} pictures, {lengths[column]} depths, {len(scenes)} scenes; copy it anew")
        depths: list[Plane] = [MatDepth(path, column, row) for row in range(count)]
        super().__init__(f"NYU Depth v2 ({count} pictures)", [f"{path}#{row}" for row in range(count)], scenes, depths=depths)

    def __getitem__(self, index: int) -> Sample:
        return {**super().__getitem__(index), "picture": MatPicture(self.path, index % len(self))}


class MatPicture:
    """One picture of the ``.mat``, which holds it as [channels, columns, rows]: MATLAB's order backwards."""

    def __init__(self, path: Path, row: int) -> None:
        self.path = path
        self.row = row

    @property
    def name(self) -> str:
        return f"{self.path}#{self.row}"

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.pixels.shape[:2]
        return height, width

    @property
    def pixels(self) -> Pixels:
        """Uint8 RGB [H, W, 3]."""
        return np.asarray(_read(self.path, "images", self.row).transpose(2, 1, 0), np.uint8)

    def take(self, box: Box, size: tuple[int, int]) -> Pixels:
        return crop_and_resize(self.pixels, box, size)


class MatDepth(ArrayPlane):
    """One depth map of the ``.mat``, held as [columns, rows]."""

    def __init__(self, path: Path, column: str, row: int) -> None:
        self.path = path
        self.column = column
        self.row = row

    @property
    def values(self) -> NDArray[Any]:  # type: ignore[override]
        return np.ascontiguousarray(_read(self.path, self.column, self.row).T, np.float32)


def _read(path: Path, column: str, row: int) -> NDArray[Any]:
    try:
        with _h5py().File(path, "r") as file:
            return np.asarray(file[column][row])
    except OSError as error:
        raise BadItem(f"{path}#{row}", f"cannot be read ({str(error).splitlines()[0]})") from None


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise UserError(f"{MAT} needs h5py; pip install h5py (or give the unpacked folders train/ and test/)") from None


def _official(path: Path, count: int) -> Division:
    """``trainNdxs`` and ``testNdxs``, which count from 1.

    Raises:
        UserError: not such a file, or it divides other pictures than these.
    """
    from scipy.io import loadmat

    try:
        stored = loadmat(path)
        train, test = (_from_zero(stored[name]) for name in ("trainNdxs", "testNdxs"))
    except (OSError, KeyError, ValueError, NotImplementedError) as error:
        raise UserError(f"'{path}' cannot be read ({error}); it should hold trainNdxs and testNdxs") from None
    whole = np.array_equal(np.sort(np.concatenate([train, test])), np.arange(count))
    if not whole or (count == sum(OFFICIAL) and (len(train), len(test)) != OFFICIAL):
        raise UserError(
            f"'{path}' puts {len(train)} pictures in train and {len(test)} in test, of {count} in {MAT}; the official split has "
            f"{OFFICIAL[0]} and {OFFICIAL[1]}, each picture once: copy it anew"
        )
    return Division(train, test)


def _from_zero(numbers: NDArray[Any]) -> Rows:
    return np.sort(numbers.ravel().astype(np.intp) - 1)


def tiny_view(name: str, number: int) -> tuple[Pixels, NDArray[np.float32]]:
    """Pixels [48, 64, 3] and metres [48, 64] of a made-up room: farther is higher up and darker; one strip is unknown (0)."""
    rng = generator("tiny nyu", name, number)
    near, far = rng.uniform(0.8, 1.5), rng.uniform(3.0, 6.0)
    metres = np.geomspace(far, near, 48)[:, None] * np.ones((1, 64))
    pixels = (220 / metres)[..., None] * np.asarray([1.0, 0.9, 0.8]) + rng.uniform(0, 12, (48, 64, 3))
    metres[:, :3] = 0
    return pixels.clip(0, 255).astype(np.uint8), metres.astype(np.float32)
