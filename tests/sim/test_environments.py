"""The Gymnasium environments: their contract, that they repeat to the byte, and that there is something to learn in them."""

import importlib
import subprocess
import sys
from dataclasses import replace

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import embodied_ssl.sim.environments
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.statistics import percentiles, resamples
from embodied_ssl.sim.interaction import interaction
from embodied_ssl.sim.rows import depth_png
from embodied_ssl.sim.spec import Pool, Randomise, Spec

NAMES = embodied_ssl.sim.environments.NAMES
TINY = {"size": (64, 64)}


def make(name, **settings):
    return gymnasium.make(f"embodied_ssl/{name}-v0", **{**TINY, **settings}).unwrapped


@pytest.fixture
def env(request):
    name, settings = request.param if isinstance(request.param, tuple) else (request.param, {})
    env = make(name, **settings)
    yield env
    env.close()


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return first == second


ALL = [*NAMES, ("Grasp", {"steps": 3, "ids": True}), ("Push", {"steps": 3, "picture_of_goal": True}), ("Poke", {"soft": True})]


@pytest.mark.parametrize("env", ALL, indirect=True, ids=str)
def test_the_checker_of_gymnasium_finds_nothing(env):
    check_env(env)


@pytest.mark.parametrize("env", [*NAMES, ("Poke", {"soft": True})], indirect=True, ids=str)
def test_a_scene_and_what_is_done_to_it_repeat_to_the_byte_whatever_came_before(env):
    actions = np.random.default_rng(0).uniform(-0.6, 0.6, (2, env.numbers)).astype(np.float32)

    def played():
        return env.reset(seed=3, options={"index": 5}), env.step(actions[0])

    first = played()
    for index in range(2):
        env.reset(seed=8, options={"index": index})
        env.step(actions[1])
    assert same(first, played())
    other = make(env.task.capitalize(), **({"soft": True} if env.sim.soft else {}))
    other.reset(seed=3)
    other.step(actions[1])  # two worlds in one process
    assert same(first[0], other.reset(seed=3, options={"index": 5}))
    env.reset(seed=4)
    env.step(actions[1])
    assert same(first[1], other.step(actions[0]))
    other.close()


def test_scenes_follow_each_other_and_an_index_is_the_scene_of_that_place():
    env = make("Grasp")
    pictures = [env.reset(seed=2)[0]["rgb"], *(env.reset()[0]["rgb"] for _ in range(2))]
    assert len({picture.tobytes() for picture in pictures}) == 3
    for index in (2, 0, 1):
        observation, info = env.reset(seed=2, options={"index": index})
        assert (info["seed"], info["index"]) == (2, index)
        assert np.array_equal(observation["rgb"], pictures[index])
    env.close()


@pytest.mark.parametrize("name", NAMES)
def test_scene_and_outcome_are_those_of_the_data_set_with_the_same_seed(name):
    task = name.lower()
    spec = Spec(tasks=(task,), seed=11, size=(64, 64), randomise=Randomise(noise=(3.0, 3.0)))
    row = interaction(spec, 2)
    env = make(name, spec=spec)
    env.reset()
    observation, _ = env.reset(options={"index": 2})
    before = cv2.imdecode(np.frombuffer(row["before"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(observation["rgb"], before)
    assert depth_png(observation["depth"]) == row["depth_before"]
    places = np.array(row[task][: {"grasp": 2, "push": 4, "poke": 2}[task]]) / 63 * 2 - 1
    more = {"grasp": [row["grasp"][2] / 9 - 1], "push": [(row["push"][-1] - 0.005) / 0.025 * 2 - 1], "poke": []}[task]
    after, *_, info = env.step(np.array([*places, *more], np.float32))
    assert info["acted"] == row["acted"]
    assert info["mass"] == row["mass"]
    assert info["success"] == row["success"]
    assert info["force"] == pytest.approx(row["force"], abs=0.5)  # the action has been rounded to float32
    seen = cv2.imdecode(np.frombuffer(row["after"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(after["rgb"].astype(int) - seen).mean() < 1
    env.close()


def ground(depth):
    """The depth of the table in every pixel: of a plane, the inverse of depth is linear in row and column."""
    at = np.stack([*np.indices(depth.shape).reshape(2, -1) / depth.shape[0], np.ones(depth.size)], axis=1)
    inverse, keep = 1 / depth.ravel().astype(float), np.ones(depth.size, bool)
    for _ in range(10):
        plane = np.linalg.lstsq(at[keep], inverse[keep], rcond=None)[0]
        keep = inverse - at @ plane < 0.005
    return (1 / (at @ plane)).reshape(depth.shape)


def middle_out(observation, numbers=3):
    """Close on the middle of what stands out most in depth, across its narrow side."""
    depth = observation["depth"]
    out = (ground(depth) - depth > 0.012).astype(np.uint8)
    count, parts, facts, centres = cv2.connectedComponentsWithStats(out)
    if count < 2:
        return np.zeros(numbers, np.float32)
    part = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    rows, columns = np.nonzero(parts == part)
    spread = np.cov(np.stack([columns, -rows]))
    across = np.linalg.eigh(spread)[1][:, 0]  # of least spread, in x to the right and y upwards
    angle = np.arctan2(across[1], across[0]) % np.pi
    column, row = centres[part]
    last = np.array(depth.shape) - 1
    return np.array([2 * row / last[0] - 1, 2 * column / last[1] - 1, 2 * angle / np.pi - 1], np.float32)


def test_closing_on_the_middle_of_a_thing_lifts_it_more_often_than_closing_anywhere():
    env = make("Grasp", size=(96, 96), pool=Pool(kinds=("primitives",)))
    rng = np.random.default_rng(0)
    gain = []
    for index in range(40):
        rewards = []
        for policy in (middle_out, lambda _: rng.uniform(-1, 1, 3).astype(np.float32)):
            observation, _ = env.reset(seed=0, options={"index": index})
            rewards.append(env.step(policy(observation))[1])
        gain.append(rewards[0] - rewards[1])
    low, _ = percentiles([float(np.repeat(gain, times).mean()) for times in resamples(len(gain), 200)])
    assert low > 0.3
    env.close()


def test_pushing_towards_the_goal_brings_the_thing_nearer():
    env = make("Push", size=(96, 96), things=(1, 1))
    rewards, ended = [], []
    for index in range(12):
        observation, _ = env.reset(seed=1, options={"index": index})
        start, goal = observation["goal"][:2], observation["goal"][2:]
        way = (goal - start) / np.linalg.norm(goal - start)
        _, reward, terminated, truncated, info = env.step(np.array([*(start - 0.3 * way), *goal, 0.0], np.float32))
        assert (terminated, truncated) == (True, False)
        assert info["distance"] >= 0
        rewards.append(reward)
        ended.append(info["distance"])
    assert np.mean(rewards) > 0.02
    assert np.mean(np.array(rewards) > 0) > 0.75
    env.close()


def test_the_goal_is_drawn_where_its_numbers_say():
    env = make("Push", size=(96, 96), picture_of_goal=True, ids=True)
    observation, _ = env.reset(seed=0)
    changed = np.abs(observation["goal_rgb"].astype(int) - observation["rgb"]).max(axis=2) > 20
    rows, columns = np.nonzero(changed & (observation["ids"] != env.meant))
    goal = (observation["goal"][2:] + 1) / 2 * 95
    assert np.hypot(rows.mean() - goal[0], columns.mean() - goal[1]) < 6
    env.close()


def test_the_softest_thing_is_the_one_that_is_rewarded():
    env = make("Poke", size=(96, 96), steps=4, ids=True, pool=Pool(kinds=("primitives",)))
    observation, _ = env.reset(seed=5)
    table, found = env.table, {}
    for place in range(min(4, len(table.bodies))):
        top = table.before[place, :3] + [0, 0, table.top_of(place) - table.before[place, 2]]
        row, column, _ = table.camera.project(top[None])[0]
        observation, reward, *_, info = env.step(np.array(env.place(row, column), np.float32))
        if info["success"]:
            assert observation["felt"][2] == pytest.approx(info["slope"])
            assert info["slope"] == pytest.approx(info["stiffness"] / 1000, rel=0.02)
            found[info["acted_place"]] = (info["stiffness"], reward)
    assert len(found) > 1
    for place, (_, reward) in found.items():
        assert reward == (place == info["softest"])
    env.close()


def test_in_longer_episodes_things_stay_where_they_came_to_rest():
    env = make("Push", size=(96, 96), steps=3, things=(1, 1))
    observation, _ = env.reset(seed=1)
    total, first = 0.0, observation["goal"].copy()
    for step in range(3):
        start, goal = observation["goal"][:2], observation["goal"][2:]
        way = (goal - start) / np.linalg.norm(goal - start)
        end = start + 0.1 * way
        observation, reward, terminated, truncated, info = env.step(np.array([*(start - 0.3 * way), *end, 0.0], np.float32))
        total += reward
        if terminated:
            assert info["there"]
            break
        assert truncated == (step == 2)
    assert not np.allclose(observation["goal"][:2], first[:2], atol=0.02)
    assert np.allclose(observation["goal"][2:], first[2:])
    before = np.linalg.norm(env.target - _start(env, first))
    assert before - info["distance"] == pytest.approx(total, abs=2e-3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(env.action_space.sample())
    env.close()


def _start(env, goal):
    return env.table.camera.at_height(*env.pixel(*goal[:2]), env.target[2])


def test_what_a_robot_cannot_reach_is_told_and_not_raised():
    env = make("Grasp", robot="panda", randomise=Randomise(fov=(100.0, 100.0)), steps=2)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.array([-1, -1, 0], np.float32))
    assert (reward, terminated, truncated, info["reached"], info["success"]) == (0.0, False, False, False, False)
    assert "\n" not in info["reason"]
    assert info["reason"]
    *_, info = env.step(np.array([0, 0, 0], np.float32))
    assert info["reached"]
    env.close()


def test_a_sweep_that_would_begin_inside_a_thing_is_not_reached():
    env = make("Push", size=(96, 96), things=(1, 1))
    observation, _ = env.reset(seed=1)
    _, reward, *_, info = env.step(np.array([*observation["goal"], -1.0], np.float32))
    assert (reward, info["reached"]) == (0.0, False)
    env.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_of_environments_repeat_what_one_does(mode):
    settings = {"vector_kwargs": {"context": "spawn"}} if mode == "async" else {}
    several = gymnasium.make_vec(
        "embodied_ssl.sim.environments:embodied_ssl/Poke-v0", num_envs=2, vectorization_mode=mode, **settings, **TINY
    )
    observations, _ = several.reset(seed=[3, 4])
    actions = np.array([[0.1, 0.2], [-0.3, 0.1]], np.float32)
    _, rewards, terminated, *_ = several.step(actions)
    several.close()
    env = make("Poke")
    for k, seed in enumerate((3, 4)):
        observation, _ = env.reset(seed=seed)
        assert same(observation, {key: values[k] for key, values in observations.items()})
        assert env.step(actions[k])[1] == rewards[k]
    assert terminated.all()
    env.close()


def test_a_film_shows_the_hand():
    env = make("Grasp", render_mode="rgb_array_list")
    observation, _ = env.reset(seed=0)
    env.step(middle_out(observation))
    frames = env.render()
    assert len(frames) > 5
    assert all(frame.shape == (64, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    assert np.array_equal(frames[0], observation["rgb"])
    assert np.abs(frames[len(frames) // 2].astype(int) - frames[0]).max() > 40
    assert env.render() == []
    env.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"robbot": "panda"}, "robot"),
        ({"tasks": ("push",)}, "tasks"),
        ({"steps": 0}, "at least 1"),
        ({"render_mode": "human"}, "human"),
    ],
)
def test_settings_that_there_are_not_are_named(settings, said):
    kind = importlib.import_module("embodied_ssl.sim.gym.grasp").Grasp
    with pytest.raises(UserError, match=said):
        kind(**settings)


def test_actions_and_options_that_there_are_not_are_named():
    env = make("Grasp")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3, np.float32))
    env.reset(seed=0)
    for action in (np.zeros(2), np.array([0, np.nan, 0])):
        with pytest.raises(UserError, match="3 finite numbers"):
            env.step(action)
    env.step(np.array([9.0, -9.0, 0.0]))  # brought to the nearest limit
    for options, said in (({"idx": 3}, "idx"), ({"index": -1}, "from 0 on"), ({"index": "a"}, "whole number")):
        with pytest.raises(UserError, match=said):
            env.reset(options=options)
    env.close()


def test_without_gymnasium_one_line_says_what_to_install():
    code = (
        "import sys\nsys.modules['gymnasium'] = None\nfrom embodied_ssl.errors import UserError\n"
        "import embodied_ssl.sim.interaction\n"  # needs no gymnasium
        "try:\n    import embodied_ssl.sim.environments\nexcept UserError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_name_with_its_module_needs_no_import():
    code = (
        "import gymnasium, sys\nenv = gymnasium.make('embodied_ssl.sim.environments:embodied_ssl/Push-v0')\n"
        "sys.exit('torch' in sys.modules or env.unwrapped.task != 'push')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_specifications_are_kept():
    spec = replace(Spec(), robot="kuka", seed=9, things=(2, 2))
    env = make("Grasp", spec=spec)
    assert env.sim == replace(spec, tasks=("grasp",), size=(64, 64))
