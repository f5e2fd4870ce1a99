"""One dot a seed under the loss of each stage, and the reader's own run among them."""

import importlib
import json
import re
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Any

import pytest

from gpt.base.ladder import SMALL
from gpt.runs.records import Summary
from tests.conftest import REPOSITORY
from tests.docs.test_guessing import write
from tests.extras import require_extra
from tests.playground.browsing import chromium, violations

RESULTS = (REPOSITORY / "docs" / "lab" / "results.md").read_text()
PAGE = """<!doctype html><html lang="en"><title>v3_ffn</title><body><main><h1>v3_ffn</h1>{}
<iframe class="live" title="live" srcdoc="live"></iframe><iframe name="other" title="other" srcdoc="other"></iframe>
</main></body></html>"""
SUMMARY = {"stage": "v3_ffn", "seed": 7, "changed": [], "exact": {"nats": 2.2613}, "parent": None}


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    require_extra("docs")
    for folder in ("docs", "docs/_ext"):
        monkeypatch.syspath_prepend(str(REPOSITORY / folder))
    return importlib.import_module("seeds")


def test_the_losses_by_seed_are_those_of_the_tables(seeds: ModuleType) -> None:
    losses = seeds.by_seed()
    assert list(losses) == [*SMALL, "v7"]
    for stage in SMALL:
        (row,) = re.findall(rf"^\| {stage} +\| val.*", RESULTS, re.MULTILINE)
        of_three = float(row.split("|")[6])
        assert mean(losses[stage][seed] for seed in (1, 2, 3)) == pytest.approx(of_three, abs=0.01)
        assert len(losses[stage]) >= 5
    on_a_gpu = re.findall(r"^\| (\d) \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|", RESULTS, re.MULTILINE)
    assert losses["v7"] == {int(seed): float(loss) for seed, loss in on_a_gpu}


def test_the_figure_says_how_often_two_seeds_disagree(seeds: ModuleType) -> None:
    """One seed of each can say the opposite of the means, which is what a difference of 0.02 is worth."""
    losses = seeds.by_seed()
    v3, v3_ffn = (list(losses[stage].values()) for stage in ("v3", "v3_ffn"))
    opposite = sum(a < b for a in v3 for b in v3_ffn)
    assert opposite * 6 == len(v3) * len(v3_ffn)
    assert losses["v3_ffn"].pop(1337) > max(v3)
    assert max(losses["v3_ffn"].values()) < min(v3)  # five dots
    assert f"v3_ffn is {mean(v3) - mean(v3_ffn):.3f} better than v3." in seeds.figure("v3_ffn")
    assert f"agree and {opposite} say the opposite." in seeds.figure("v3_ffn")
    assert "All 36 pairs with one run of each agree." in seeds.figure("v5")


def test_the_own_run_is_marked(seeds: ModuleType, tmp_path: Path) -> None:
    losses = seeds.by_seed()
    address = write(tmp_path, v3_ffn=PAGE.format(seeds.figure("v3_ffn")))["v3_ffn"]
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.goto(address)
        middle = "(dots) => dots.map((dot) => { const {x, width} = dot.getBoundingClientRect(); return x + width / 2 })"
        for group, stage in (("g:not(.own)", "v3"), ("g.own", "v3_ffn")):
            places = page.locator(f"figure.seeds {group} circle").evaluate_all(middle)
            assert len(places) == len(losses[stage])
            assert places == sorted(places)
        page.get_by_text("Add your own run").click()
        assert violations(page) == []
        assert Summary.model_fields.keys() >= SUMMARY.keys()

        def paste(content: Any) -> str:
            page.get_by_label("summary.json").fill(content if isinstance(content, str) else json.dumps(content))
            alert: str = page.locator("figure.seeds .failure").inner_text()
            return alert

        for wrong, why in (("{", "This is not JSON"), (SUMMARY | {"stage": "v3"}, "This is a run of v3, and the")):
            assert paste(wrong).startswith(why)
            assert page.locator("figure.seeds .yours").count() == 0
        paste(SUMMARY)
        assert page.locator("p.yours").inner_text() == "▲ Yours: 2.2613 (exact, seed 7)"
        (own,) = page.locator("svg.yours path").evaluate_all(middle)
        higher = sum(loss > SUMMARY["exact"]["nats"] for loss in losses["v3_ffn"].values())
        assert sum(x > own for x in page.locator("g.own circle").evaluate_all(middle)) == higher

        trained = {"stage": "v3_ffn", "loss": 2.3, "seed": 1, "changed": ["training.max_iters=2000"]}
        tell = f"parent.postMessage({{trained: {json.dumps(trained)}}}, '*')"
        page.frame(name="other").evaluate(tell)  # not of a live stage
        page.wait_for_timeout(200)
        assert page.locator("p.yours").inner_text() == "▲ Yours: 2.2613 (exact, seed 7)"
        page.frames[1].evaluate(tell)
        page.get_by_text("Yours: 2.3000 (estimated, seed 1, with max_iters=2000)").wait_for()
        assert violations(page) == []
        page.reload()
        assert "Yours: 2.3000 (estimated" in page.locator("p.yours").inner_text()
