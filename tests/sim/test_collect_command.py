"""What the command line asks for is what is made; what it cannot ask for is refused in one line."""

import json

import pytest

from embodied_ssl import cli
from embodied_ssl.sim.collecting.command import Asked, engine_of, spec_of
from embodied_ssl.sim.collecting.engines import Processes, Serial
from embodied_ssl.sim.spec import Pool, Randomise, Spec

PLAIN = Asked(("grasp", "push", "poke"), 300, 0, "128", "jaw", "default", "tiny")


def run(capsys, *words):
    """The command's exit code, output and complaints."""
    with pytest.raises(SystemExit) as left:
        cli.main(["simulate", *map(str, words)])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_options_and_changes_make_the_specification():
    assert spec_of(PLAIN) == Spec(renderer="tiny")
    changes = ("randomise.textures=0.5", "randomise.height=0.6,0.7", "pool.kinds=own", "pool.folder=/mugs", "things=1,2")
    asked = Asked(("poke",), 7, 3, "96,128", "panda", "fast", "gl", changes)
    plain = {"tasks": ("poke",), "episodes": 7, "seed": 3, "size": (96, 128), "things": (1, 2)}
    wanted = Spec(**plain, solver="fast", robot="panda", renderer="gl")
    pool, randomise = Pool(kinds=("own",), folder="/mugs"), Randomise(textures=0.5, height=(0.6, 0.7))
    spec = spec_of(asked)
    assert (spec.pool, spec.randomise) == (pool, randomise)
    assert Spec(**{**vars(spec), "pool": Pool(), "randomise": Randomise()}) == wanted
    assert spec_of(Asked(**{**vars(PLAIN), "renderer": "auto"})).renderer in ("gl", "tiny")


def test_engines_by_name():
    assert engine_of("processes", 3, 60.0) == Processes(3, 60.0)
    assert engine_of("serial", 1, 60.0) == Serial()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "give --out FOLDER, or --verify FOLDER"),
        ("--out {} --episodes 0", "--episodes is 0; give 1 or more"),
        ("--out {} --workers 0", "--workers is 0; give 1 or more processes"),
        ("--out {} --workers -2", "--workers is -2; give 1 or more processes"),
        ("--out {} --task drive --workers 0", "--workers is 0; give 1 or more processes"),
        ("--out {} --shard 0/4", "--shard 0/4 is not accepted; give i/N with 1 <= i <= N"),
        ("--out {} --shard 5/4", "--shard 5/4 is not accepted"),
        ("--out {} --shard a/b", "--shard a/b is not accepted"),
        ("--out {} --engine rya", "there is no engine 'rya', did you mean 'ray'?"),
        ("--out {} --engine serial --workers 2", "--engine serial is one process, but --workers is 2"),
        ("--out {} --patience -1", "--patience"),
        ("--out {} --robot pandas", "robot=pandas is not accepted, did you mean 'panda'?"),
        ("--out {} --solver exact", "solver=exact is not accepted"),
        ("--out {} --renderer opengl", "renderer=opengl is not accepted"),
        ("--out {} --size a", "--size=a is not accepted; give a whole number"),
        ("--out {} --size 1,2,3", "--size=1,2,3 needs 2 values"),
        ("--out {} --set randomize.textures=1", "no setting 'randomize' in 'randomize.textures', did you mean 'randomise'?"),
        ("--out {} --set randomise.texture=1", "did you mean 'textures'?"),
        ("--out {} --set randomise=1", "'randomise' is a group; set one of its fields"),
        ("--out {} --set seed", "--set takes key=value, not 'seed'"),
        ("--out {} --task grap", "there is no task 'grap', did you mean 'grasp'?"),
        ("--out {} --task grasp,drive", "drives and interactions are different data sets"),
        ("--out {} --task drive --robot panda", "are for interactions; leave them out for drives"),
        ("--out {} --task drive --shard 1/2", "are for interactions; leave them out for drives"),
        ("--verify {}", "give a folder that simulate has written"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(tmp_path, capsys, words, said):
    code, out, err = run(capsys, *words.format(tmp_path / "set").split())
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert said in err
    assert not (tmp_path / "set").exists()


def test_a_data_set_is_made_in_parts_continued_and_checked(tmp_path, capsys):
    common = ["--out", tmp_path / "set", "--episodes", 6, "--size", 32, "--set", "per_shard=2", "--engine", "serial"]
    common += ["--renderer", "tiny"]
    code, out, _ = run(capsys, *common, "--shard", "1/2", "--json", tmp_path / "told.json")
    assert code == 0
    assert "missing_shards: 1" in out
    assert "sha256" not in out
    assert json.loads((tmp_path / "told.json").read_text())["made"] == 4
    code, _, err = run(capsys, *common)
    assert (code, "pass --resume to continue" in err) == (2, True)
    code, out, _ = run(capsys, *common, "--resume", "--json", tmp_path / "told.json")
    told = json.loads((tmp_path / "told.json").read_text())
    assert (code, told["total"], told["made"], told["left_out"]) == (0, 6, 2, [])
    code, out, _ = run(capsys, "--verify", tmp_path / "set")
    assert (code, out.splitlines()[-1]) == (0, f"sha256: {told['sha256']}")
