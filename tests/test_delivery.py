"""How the project is delivered: the images, the workflows of GitHub Actions, and what a release says of itself."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import gpt
from tests.conftest import REPOSITORY, shell_commands, succeeded

pytestmark = pytest.mark.slow

DOCKERFILE = REPOSITORY / "Dockerfile"
WORKFLOWS = REPOSITORY / ".github" / "workflows"
CHANGELOG, CITATION = REPOSITORY / "CHANGELOG.md", REPOSITORY / "CITATION.cff"
NOTES = REPOSITORY / ".ci" / "notes"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
COMMANDS = [
    line.partition("#")[0].strip()
    for line in re.findall(r"^pip install -e .*", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
]


def succeeds(*command: str | Path) -> str:
    done = succeeded(subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True))
    return done.stdout


def tool(name: str) -> Path:
    """A command of the environment that runs the tests."""
    return Path(sys.executable).with_name(name)


def test_the_images_install_and_run_what_the_readme_says() -> None:
    assert len(COMMANDS) == 2
    text = DOCKERFILE.read_text()
    for command in COMMANDS:
        install, run = command.split(" && ")
        words = ", ".join(f'"{word}"' for word in shlex.split(run))
        assert f"RUN {install}\n" in text
        assert f"CMD [{words}]\n" in text


def test_a_development_container_has_what_contributing_installs() -> None:
    container = json.loads((REPOSITORY / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"] in (REPOSITORY / "CONTRIBUTING.md").read_text()
    assert container["image"].split(":")[-1] in DOCKERFILE.read_text()


def test_the_lock_is_of_what_the_project_requires() -> None:
    packages = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    locked = next(package for package in packages if package["name"] == PROJECT["name"])["metadata"]["requires-dist"]
    extras = PROJECT["optional-dependencies"]
    required = map(Requirement, (*PROJECT["dependencies"], *(one for several in extras.values() for one in several)))
    assert {(one["name"], SpecifierSet(one.get("specifier", ""))) for one in locked} == {
        (canonicalize_name(one.name), one.specifier) for one in required if one.name != PROJECT["name"]
    }


def test_the_dockerfile_has_no_findings() -> None:
    if not tool("hadolint").exists():
        pytest.skip("hadolint has no package for this machine")
    succeeds(tool("hadolint"), DOCKERFILE)


def jobs_of(workflow: str) -> dict:
    return yaml.safe_load((WORKFLOWS / f"{workflow}.yml").read_text())["jobs"]


def commands_of(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_workflows_and_the_citation_follow_their_schemas() -> None:
    schemas = {"vendor.github-workflows": sorted(WORKFLOWS.iterdir()), "vendor.citation-file-format": [CITATION]}
    for schema, files in schemas.items():
        succeeds(tool("check-jsonschema"), "--builtin-schema", schema, *files)


def test_the_workflow_checks_the_oldest_and_the_newest_versions() -> None:
    jobs = jobs_of("checks")
    job = jobs["checks"]
    versions = job["strategy"]["matrix"]
    oldest_python, newest_python = versions["python"]
    minor = int(newest_python.removeprefix("3."))
    assert PROJECT["requires-python"] == f">={oldest_python},<3.{minor + 1}"
    torch = next(line for line in PROJECT["dependencies"] if line.startswith("torch"))
    oldest, newest = (Requirement(f"torch{constraint}") for constraint in versions["torch"])
    (lowest,) = re.findall(r">=([\d.]+)", torch)
    assert (str(oldest.specifier), str(newest.specifier)) == (f"=={lowest}.*", "")
    assert commands_of(job)[-1] == ".ci/run"
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    assert f"`{jobs['types']['steps'][-1]['run']}`" in (REPOSITORY / "CONTRIBUTING.md").read_text()


def test_the_site_is_built_as_its_page_says() -> None:
    (job,) = jobs_of("pages").values()
    *build, print_address = commands_of(job)
    assert build == shell_commands("site.md")
    assert "GITHUB_STEP_SUMMARY" in print_address
    jobs = jobs_of("release")
    assert jobs["publish"]["needs"] == ["checks", "thorough", "build"]
    assert jobs["checks"] == {"uses": "./.github/workflows/checks.yml"}
    assert jobs["thorough"] == {"uses": "./.github/workflows/weekly.yml"}
    first, *_, last = commands_of(jobs["build"])
    assert first.startswith('.ci/notes "$GITHUB_REF_NAME"')
    assert last == "pytest -m release tests/release/test_installed.py"
    assert "secrets." not in (WORKFLOWS / "release.yml").read_text()  # trusted publishing needs none


def test_a_release_has_one_version_whose_changes_are_told() -> None:
    version = gpt.__version__
    citation = yaml.safe_load(CITATION.read_text())
    assert (citation["version"], citation["license"]) == (version, PROJECT["license"])
    notes = succeeds(NOTES, f"v{version}")
    assert f"\n## {version}\n\n{notes}" in CHANGELOG.read_text()  # no date: that of its tag
    assert "\n## " not in notes
    done = subprocess.run([NOTES, "v0.1"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: ")
    assert "v0.1" in done.stderr
