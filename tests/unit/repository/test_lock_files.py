"""The lock files, held to pyproject.toml and to each other: `make lock` makes them."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PRODUCT = PROJECT["dependencies"]
EMBEDDED = PRODUCT + PROJECT["optional-dependencies"]["embedded"]
WANTED = {
    "requirements/product.txt": PRODUCT,
    "requirements/embedded.txt": EMBEDDED,
    "requirements/dev.txt": EMBEDDED + PROJECT["optional-dependencies"]["dev"],
    "constraints.txt": EMBEDDED + PROJECT["optional-dependencies"]["dev"],
}


def _locked(file):
    """Name and version of every package, with how many hashes it has."""
    found = {}
    for entry in re.split(r"(?m)^(?=\S)", (ROOT / file).read_text())[1:]:
        name, _, version = entry.split()[0].partition("==")
        found[canonicalize_name(name)] = version, entry.count("--hash=sha256:")
    return found


@pytest.mark.parametrize("file", WANTED)
def test_a_lock_file_has_a_version_of_every_dependency_that_fits(file):
    locked = _locked(file)
    for requirement in map(Requirement, WANTED[file]):
        version, _ = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is not {version}: run make lock"


@pytest.mark.parametrize("file", WANTED)
def test_all_lock_files_have_the_same_versions(file):
    versions = {name: version for name, (version, _) in _locked("requirements/dev.txt").items()}
    assert {name: version for name, (version, _) in _locked(file).items()}.items() <= versions.items()


@pytest.mark.parametrize("file", [name for name in WANTED if name.startswith("requirements/")])
def test_every_package_has_hashes(file):
    assert [name for name, (_, hashes) in _locked(file).items() if not hashes] == []


@pytest.mark.parametrize("file", WANTED)
def test_a_lock_file_names_no_host(file):
    assert not re.search(r"://|--index-url|--find-links|@ ", (ROOT / file).read_text())
