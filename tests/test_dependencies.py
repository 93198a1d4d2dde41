"""The two lists of dependencies, pyproject.toml and environment.yml, name the same things."""

import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# conda-forge's name -> PyPI's name, where they differ.
RENAMED = {"python-duckdb": "duckdb", "prometheus_client": "prometheus-client"}
EXTRAS = ("test", "notebook")  # those a conda environment holds too
COPYLEFT = {"pyfeng", "pyqt5", "pyqt6", "readline"}


def from_pyproject() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra in EXTRAS:
        texts += project["optional-dependencies"][extra]
    parsed = [Requirement(text) for text in texts]
    return {requirement.name: str(requirement.specifier) for requirement in parsed}


def from_environment() -> dict[str, str]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    texts = [text for text in listed if isinstance(text, str)] + next(d["pip"] for d in listed if isinstance(d, dict))
    parsed = [Requirement(text) for text in texts if text not in ("pip", "-e .")]
    found = {RENAMED.get(requirement.name, requirement.name): str(requirement.specifier) for requirement in parsed}
    found.pop("python")
    return found


def test_both_lists_are_the_same() -> None:
    assert from_environment() == from_pyproject()


def test_python_version_is_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert f"python{project['requires-python']}" in listed


def test_nothing_copyleft_is_a_main_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not COPYLEFT & {Requirement(text).name.lower() for text in project["dependencies"]}
