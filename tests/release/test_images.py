"""The images of the Dockerfile, built and run where a container engine is running."""

import shutil
import subprocess

import pytest

from tests.test_delivery import succeeds


@pytest.fixture
def engine() -> str:
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    pytest.skip("no container engine is running")


@pytest.mark.parametrize(("target", "said"), [([], " 2.0808 "), (["--target=test"], " passed")], ids=["train", "test"])
def test_the_images_run(engine: str, target: list[str], said: str) -> None:
    index = "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
    image = succeeds(engine, "build", "--quiet", f"--build-arg={index}", *target, ".").strip()
    try:
        assert said in " ".join(succeeds(engine, "run", "--rm", image).split())
    finally:
        succeeds(engine, "rmi", "--force", image)
