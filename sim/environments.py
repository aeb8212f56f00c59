"""The simulator's tasks as Gymnasium environments, for learning policies in the worlds that the data sets are made in.

    import gymnasium
    import embodied_ssl.sim.environments  # registers them

    env = gymnasium.make("embodied_ssl/Grasp-v0", size=(96, 96), robot="panda")
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

There are ``Grasp-v0``, ``Push-v0`` and ``Poke-v0``; `gym.grasp`, `gym.push` and `gym.poke` say what is seen, done and
rewarded, `gym.touching` what they share. Gymnasium has looked into no entry points since 1.0, so somebody must import this
module; a name can do it: ``gymnasium.make("embodied_ssl.sim.environments:embodied_ssl/Grasp-v0")``. Vectors of several processes
start them by spawn (``vector_kwargs={"context": "spawn"}``), because neither physics nor OpenGL survives a fork.
"""

from __future__ import annotations

from embodied_ssl.errors import UserError

try:
    import gymnasium
except ImportError:
    raise UserError("the environments need gymnasium, which is not installed; run: pip install 'embodied-ssl[gym]'") from None

NAMES = ("Grasp", "Push", "Poke")

for _name in NAMES:
    if f"embodied_ssl/{_name}-v0" not in gymnasium.registry:
        gymnasium.register(f"embodied_ssl/{_name}-v0", f"embodied_ssl.sim.gym.{_name.lower()}:{_name}")
