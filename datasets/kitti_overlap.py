"""Which KITTI raw drives the odometry sequences were cut from: training on the one and testing on the other would share roads.

From the development kit of the odometry benchmark. Sequences 11 to 21 have no published poses and no published origin.
"""

from __future__ import annotations

from typing import NamedTuple


class Cut(NamedTuple):
    """One odometry sequence.

    Attributes:
        sequence: its name.
        drive: the folder of the raw drive, less ``_sync`` or ``_extract``.
        frames: how many it has; from the drive's first on, except that 08 is frames 1100 to 5170.
    """

    sequence: str
    drive: str
    frames: int


CUTS = (
    Cut("00", "2011_10_03_drive_0027", 4541),
    Cut("01", "2011_10_03_drive_0042", 1101),
    Cut("02", "2011_10_03_drive_0034", 4661),
    Cut("03", "2011_09_26_drive_0067", 801),  # this drive is not offered for download
    Cut("04", "2011_09_30_drive_0016", 271),
    Cut("05", "2011_09_30_drive_0018", 2761),
    Cut("06", "2011_09_30_drive_0020", 1101),
    Cut("07", "2011_09_30_drive_0027", 1101),
    Cut("08", "2011_09_30_drive_0028", 4071),
    Cut("09", "2011_09_30_drive_0033", 1591),
    Cut("10", "2011_09_30_drive_0034", 1201),
)

LSM_TEST = ("06", "09")  # what Agrawal, Carreira and Malik (2015) test on; they train on the other nine


def sequence_of(drive: str) -> str:
    """The odometry sequence that a raw drive's folder holds; "" for none."""
    bare = drive.removesuffix("_sync").removesuffix("_extract")
    return next((cut.sequence for cut in CUTS if cut.drive == bare), "")
