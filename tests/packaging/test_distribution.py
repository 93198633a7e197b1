"""The wheel and the source archive build without warnings and work outside of the checkout."""

import subprocess
import sys
import tarfile
import zipfile

import pytest
from distributions import ROOT, build, environment, use

TOPS = ("layers", "bounds", "solvers", "benchmarks")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return build(tmp_path_factory.mktemp("build"))


def shipped():
    """Files of ours that a program needs, as paths in the checkout."""
    listed = subprocess.run(["git", "ls-files", *TOPS], cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.splitlines() if not name.startswith("benchmarks/README")}


def test_nothing_is_missing_from_either(archives):
    wheel, source = archives[0], archives[1]
    assert (wheel.suffix, source.suffix) == (".whl", ".gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    moved = {name.replace("bounds/api/", "", 1) if name.startswith("bounds/api/") else name for name in shipped()}
    assert {f"pvq/{name}" for name in moved} <= names
    with tarfile.open(source) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped() | {"pyproject.toml", "README.md", "LICENSE"} <= kept


@pytest.mark.parametrize("which", [0, 1], ids=["wheel", "source"])
def test_it_works_in_a_clean_environment(archives, which, tmp_path):
    python = environment(tmp_path / "venv")
    words = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *words, str(archives[which])]
    subprocess.run(install, check=True)
    assert "optimal" in use(python, tmp_path, "brute")
