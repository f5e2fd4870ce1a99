"""The site, built from runs that are trained as it publishes them."""

from pathlib import Path

import pytest

from tests.conftest import Once
from tests.docs.test_site import build_site, built, check_links, check_look, copy_repository


def build_whole_site(folder: Path) -> None:
    copy_repository(folder)
    build_site(folder)


@pytest.fixture(scope="session")
def site(once: Once) -> Path:
    return built(once("published_site", build_whole_site))


def test_every_link_of_the_site_leads_somewhere_on_it(site: Path) -> None:
    check_links(site)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (320, "dark")])
def test_no_page_is_cut_off_or_inaccessible(site: Path, width: int, theme: str) -> None:
    check_look(site, width, theme)
