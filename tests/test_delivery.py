"""What runs the project elsewhere: the Dockerfile has the README's commands, and GitHub Actions those of .ci/run and of
docs/site.md.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.conftest import REPOSITORY

DOCKERFILE = REPOSITORY / "Dockerfile"
WORKFLOWS = REPOSITORY / ".github" / "workflows"
CHECKS, PAGES = WORKFLOWS / "checks.yml", WORKFLOWS / "pages.yml"
COMMANDS = [line.partition("#")[0].strip() for line in re.findall(
    r"^pip install -e .*", (REPOSITORY / "README.md").read_text(), re.MULTILINE)]  # fmt: skip


def succeeds(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
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


def test_the_dockerfile_has_no_findings() -> None:
    if not tool("hadolint").exists():
        pytest.skip("hadolint has no package for this machine")
    succeeds(tool("hadolint"), DOCKERFILE)


@pytest.fixture
def engine() -> str:
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    pytest.skip("no container engine is running")


@pytest.fixture
def image(engine: str) -> Iterator[str]:
    name = f"gpt-{uuid.uuid4().hex[:8]}"
    yield name
    subprocess.run([engine, "rmi", "--force", name], capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "said"), [([], " 2.0808 "), (["--target", "test"], " passed")], ids=["train", "test"]
)
def test_the_images_run(engine: str, image: str, shakespeare: Path, target: list[str], said: str) -> None:
    succeeds(engine, "build", "--build-arg", "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu", *target,
             "--tag", image, ".")  # fmt: skip
    corpora = ["--env", "GPT_DATA_DIR=/corpora", "--volume", f"{shakespeare.resolve()}:/corpora"]
    assert said in " ".join(succeeds(engine, "run", "--rm", *corpora, image).split())


@pytest.mark.parametrize("workflow", [CHECKS, PAGES], ids=lambda path: path.stem)
def test_the_workflows_are_ones_for_github(workflow: Path) -> None:
    succeeds(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", workflow)


def test_the_workflow_runs_the_checks_on_the_oldest_and_the_newest_versions() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    jobs = yaml.safe_load(CHECKS.read_text())["jobs"]
    job = jobs["checks"]
    versions = job["strategy"]["matrix"]
    assert project["requires-python"] == f">={versions['python'][0]}"
    torch = next(line for line in project["dependencies"] if line.startswith("torch"))
    oldest, newest = (Requirement(f"torch{constraint}") for constraint in versions["torch"])
    lowest = re.search(r">=([\d.]+)", torch)
    assert lowest is not None
    assert str(oldest.specifier) == f"=={lowest[1]}.*"
    assert str(newest.specifier) == ""
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    assert f"`{jobs['types']['steps'][-1]['run']}`" in (REPOSITORY / "CONTRIBUTING.md").read_text()


def test_a_workflow_builds_the_site_as_its_page_says_and_publishes_it() -> None:
    workflow = yaml.safe_load(PAGES.read_text())
    assert workflow[True] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}  # YAML reads `on` as true
    assert workflow["permissions"] == {"contents": "read", "pages": "write", "id-token": "write"}
    (job,) = workflow["jobs"].values()
    (block,) = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / "docs" / "site.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == block.splitlines()
    *_, uploaded, published = job["steps"]
    assert uploaded["uses"].startswith("actions/upload-pages-artifact@")
    assert uploaded["with"]["path"] == commands[-1].split()[-1]
    assert published["uses"].startswith("actions/deploy-pages@")
    assert job["environment"]["url"] == "${{ steps." + published["id"] + ".outputs.page_url }}"
