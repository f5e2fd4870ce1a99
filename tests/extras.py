"""Tests that need an extra of pyproject.toml: without it, they are skipped, and the report names it."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

from tests.conftest import REPOSITORY

_EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def require_extra(name: str) -> None:
    """Skip the test, or before its imports the module, unless what this extra brings is installed."""
    if missing := _missing(name):
        reason = f"needs the extra {name}: {', '.join(missing)} is not installed"  # .ci/run looks for these words
        pytest.skip(reason, allow_module_level=True)


@cache
def _missing(name: str) -> list[str]:
    missing = []
    for required in map(Requirement, _EXTRAS[name]):
        if required.marker is not None and not required.marker.evaluate():
            continue
        missing += [package for extra in required.extras for package in _missing(extra)]
        try:
            distribution(required.name)
        except PackageNotFoundError:
            missing.append(required.name)
    return missing
