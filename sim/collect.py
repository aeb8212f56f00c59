"""The way to `collecting` for those who still come by its first name."""

from collections.abc import Callable

from embodied_ssl.sim.collecting.accepted import check_request as check_request
from embodied_ssl.sim.collecting.collect import Summary as Summary
from embodied_ssl.sim.collecting.collect import collect as collect
from embodied_ssl.sim.collecting.collect import content_hash as content_hash

Progress = Callable[[int, int], None]
