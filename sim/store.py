"""The way to `collecting.store` for those who still come by its first name."""

from embodied_ssl.sim.collecting.store import MANIFEST as MANIFEST
from embodied_ssl.sim.collecting.store import Manifest as Manifest
from embodied_ssl.sim.collecting.store import filling as filling
from embodied_ssl.sim.collecting.store import hash_of as hash_of
