"""How the package lies in its repository, and what importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("datasets", "sim", "configs")
MODULES = sorted(
    path for top in ("embodied_ssl", *FOLDERS) for path in (ROOT / top).rglob("*.py") if path.resolve().is_relative_to(ROOT)
)


def python(script: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", FOLDERS)
def test_links_resolve_inside_the_repository(name: str) -> None:
    link = ROOT / "embodied_ssl" / name
    assert link.is_symlink()
    assert not Path(link.readlink()).is_absolute()
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", FOLDERS)
def test_linked_folders_are_no_packages_of_their_own(name: str) -> None:
    """With an ``__init__.py``, ``import datasets`` at the root would find ours instead of Hugging Face's."""
    assert list((ROOT / name).rglob("__init__.py")) == []


@pytest.mark.parametrize("place", ["root", "outside"])
def test_datasets_is_hugging_faces(place: str, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    script = "import importlib.util as u; print(u.find_spec('datasets').origin)"
    found = Path(python(script, ROOT if place == "root" else tmp_path))
    assert found.name == "__init__.py"
    assert not found.is_relative_to(ROOT / "datasets")
    assert "site-packages" in found.parts


def test_data_and_simulator_do_not_need_torch() -> None:
    names = [
        ".".join(("embodied_ssl", *path.relative_to(ROOT).with_suffix("").parts))
        for top in FOLDERS[:2]
        for path in (ROOT / top).rglob("*.py")
    ]
    script = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
print(len({names!r}))
"""
    assert int(python(script, ROOT)) > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_in_one_sentence(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_class_and_function_says_what_it_is(path: Path) -> None:
    if "configs" in path.parts:
        return
    nodes = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    assert [n.name for n in nodes if not n.name.startswith("_") and not ast.get_docstring(n)] == []
