"""The page without a server: onnxruntime-web computes what the run does."""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gpt
from gpt.base.errors import RequestError, UserError
from gpt.playground import inspect, static, translating
from gpt.playground.describe import TOKENIZERS
from gpt.runs.folder import RunFolder
from gpt.session.trained import TrainedRun
from tests.conftest import REPOSITORY
from tests.playground.browsing import downloads, visit
from tests.playground.conftest import STAGES, serving_files

TOLERANCE = 1e-4


# What an engine answers: shapes and numbers, without the types of JavaScript.
PLAIN = "const plain = ({ shape, data }) => [Array.from(shape), Array.from(data)];"
ENGINE = 'const engine = await import("./engines/onnx.js");' + PLAIN


def check_equal(found: list[Any], expected: Iterable[Tensor]) -> None:
    for (shape, data), tensor in zip(found, expected, strict=True):
        assert tuple(shape) == tensor.shape
        assert torch.tensor(data).view(shape).sub(tensor).abs().max() <= TOLERANCE


def test_it_computes_what_the_run_does(browser: Any, site: str, load: Callable[..., TrainedRun]) -> None:
    with visit(browser, site) as visited:
        for stage, text in itertools.product(STAGES, ["A", "Abc de.", "Abc de. fgh\n" * 12]):
            run = load(stage)
            ids = run.tokenizer.encode(text).tolist()
            found = visited.page.evaluate(
                f"""async ([model, ids]) => {{
                  {ENGINE}
                  const off = Object.values(await engine.interventions(model, ids));
                  const attention = await engine.attention(model, ids);
                  return [await engine.logits(model, ids), ...attention, ...off].map(plain);
                }}""",
                [{"run": stage, "moment": None}, ids],
            )
            attention, off = inspect.attention(run, ids), inspect.interventions(run, ids)
            check_equal(found, [inspect.logits(run, ids), *attention.values(), *off.values()])


def test_it_translates_as_the_run_does(browser: Any, site: str, load: Callable[..., TrainedRun]) -> None:
    run = load("transformer")
    with visit(browser, f"{site}/#transformer") as visited:
        for sentence, beam in ((visited.page.input_value("#prompt"), 5), ("a b c", 1), ("a € b\tc  d", 5), ("abba", 5)):
            found = visited.page.evaluate(
                f"""async ([sentence, beam]) => {{
                  {ENGINE}
                  const found = await engine.translate("transformer", sentence, {{ beam, lengthPenalty: 1 }});
                  const {{ ids, ended }} = found.beams[0];
                  const target = ended ? ids : ids.slice(0, -1);
                  const attention = await engine.crossAttention("transformer", sentence, target);
                  return {{ ...found, target, attention: attention.map(plain) }};
                }}""",
                [sentence, beam],
            )
            expected = translating.translations(run, sentence, beam=beam, length_penalty=1.0)
            assert found["source"] == expected["source"]
            for one, other in zip(found["beams"], expected["beams"], strict=True):
                assert (one["ids"], one["tokens"], one["ended"]) == (other["ids"], other["tokens"], other["ended"])
                assert one["score"] == pytest.approx(other["score"], abs=1e-4)
            check_equal(found["attention"], translating.cross_attention(run, sentence, found["target"]).values())


@pytest.mark.parametrize("width", [736, 390])
def test_a_frame_shows_the_first_result_and_does_not_scroll(
    browser: Any, site: str, published: Path, width: int
) -> None:
    """In a page with the script of the documentation."""
    script = (REPOSITORY / "docs" / "_static" / "course.js").read_text()
    frame = '<iframe class="live" style="border: 0; width: 100%" src="index.html?embed#v2"></iframe>'
    (published / "frame.html").write_text(
        f'<!doctype html><body style="margin: 0">{frame}<div style="height: 50rem"></div><script>{script}</script>'
    )
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(f"{site}/frame.html")
    inner = page.frame_locator("iframe")
    inner.locator("main[aria-busy=false]").wait_for(timeout=120_000)
    page.wait_for_timeout(300)
    boxes = [inner.locator(part).first.bounding_box() for part in ("#prompt", ".text", ".predicted", ".attention")]
    tops = [box["y"] for box in boxes]
    assert tops == sorted(tops)
    assert tops[0] < 60
    assert boxes[1]["y"] + boxes[1]["height"] < 500
    for change in ("summary", "#go"):
        inner.locator(change).first.click()
        page.wait_for_timeout(300)
        inner.locator("main[aria-busy=false]").wait_for()
        frame_height = page.locator("iframe").bounding_box()["height"]
        content = inner.locator("html").evaluate("e => [e.scrollHeight, e.clientHeight]")
        assert content[0] == content[1] == frame_height
    assert inner.locator(".pickers").is_visible()
    page.close()


def test_the_page_works_as_with_a_server(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/?embed#v2,v6", width=390) as visited:
        assert "v2" in visited.page.locator(".panel.a").get_attribute("aria-label")
        assert visited.page.locator("h1").bounding_box()["width"] <= 1
        visited.page.click("summary")
        assert "predicts this prompt better than" in visited.text(".verdict")
        texts = []
        for seed in (1, 1, 2):
            visited.go(seed=seed, tokens=40)
            assert visited.page.locator(".panel.b .text .written").count() == 40
            texts.append(visited.page.locator(".panel.b .text:not(.switched)").inner_text())
        assert texts[0] == texts[1] != texts[2]
        visited.click(".panel.a .text span", 6)
        assert "next was" in visited.text(".panel.a .answer")
        visited.check_look()
        drawn = visited.page.evaluate(
            'import("./engines/random.js").then(({ random }) => { const r = random(1234567); return [r(), r(), r()]; })'
        )
    first = [6457827717110365317, 3203168211198807973, 9817491932198370423]  # of this seed, as in the tests of others
    assert drawn == [(number >> 11) / 2**53 for number in first]


@pytest.mark.parametrize("stage", ["v1", "v8"])
def test_the_engine_is_loaded_at_the_first_touch(
    browser: Any, site: str, published: Path, load: Callable[..., TrainedRun], stage: str
) -> None:
    """Until then, the page shows what the run computed of its first prompt, and loads less than a megabyte."""
    run, page = load(stage), browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site}/?embed#{stage}")
    page.wait_for_selector("main[aria-busy=false]", timeout=120_000)
    prompt = page.input_value("#prompt")
    assert prompt == (run.run.path / "sample.txt").read_text()[:80]
    labels = [span.get_attribute("aria-label") for span in page.locator(".text span:not(.end)").all()]
    for label, (_, loss) in zip(labels[1:], run.losses(prompt)[:7], strict=False):
        assert f"loss {loss:.2f}" in label
    assert page.locator(".distribution svg").count() > 0
    assert page.locator(".map").count() > 1 or stage == "v1"
    assert not any("/ort/" in url or url.endswith(".onnx") for url in asked)
    assert sum((published / url.split("?")[0].removeprefix(site)[1:]).stat().st_size for url in asked[1:]) < 1_000_000
    page.locator(".text span").nth(3).click()
    page.wait_for_selector(".answer:has-text('next was')")
    page.wait_for_selector("main[aria-busy=false]")
    assert any(url.endswith(".wasm.gz") for url in asked)
    page.close()


def test_bytes_and_subwords_need_no_server_either(browser: Any, tokenized: Path) -> None:
    runs = {tokens: gpt.load(tokenized / "runs" / tokens, device="cpu") for tokens in ("bytes", "subwords")}
    static.write({tokens: run.run for tokens, run in runs.items()}, tokenized / "site", downloads())
    prompt = "naïve 東京"
    with serving_files(tokenized / "site") as address, visit(browser, f"{address}/#bytes,subwords") as visited:
        visited.page.fill("#prompt", prompt)
        visited.go(tokens=60)
        for side, run in zip("ab", runs.values(), strict=True):
            spans = visited.page.locator(f".panel.{side} .text span:not(.end)")
            own = [run.tokenizer.shown[i] for i in run.tokenizer.encode(prompt)]
            assert spans.all_text_contents()[: len(own)] == own
            for (_, loss), span in zip(run.losses(prompt)[:7], spans.all()[1:], strict=False):
                assert float(span.get_attribute("title").split()[1]) == pytest.approx(loss, abs=0.0051)
            assert visited.page.locator(f".panel.{side} .text .written").count() > 10


def test_the_page_is_whole_small_and_names_no_path(browser: Any, published: Path, several: Path) -> None:
    described = json.loads((published / "runs.json").read_text())
    assert sorted(described) == sorted([*STAGES, "transformer"])
    assert not described["v1"]["has_attention"]
    assert (published / "graphs" / "v6" / "with_attention.onnx").exists()
    index = (published / "index.html").read_text()
    assert "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; " in index
    assert '<link rel="icon" href="icon.svg">' in index
    addresses = re.findall(r"""(?:src|href)="([^"]+)\"""", index)
    assert addresses
    assert all((published / address).is_file() for address in addresses)
    files = list(filter(Path.is_file, published.rglob("*")))
    assert sum(file.stat().st_size for file in files if "graphs" not in file.parts) < 6_000_000
    for file in files:
        content = file.read_bytes()
        assert not any(bytes(path) in content for path in (published.parent, several, REPOSITORY)), file
    page = browser.new_page()
    page.goto(f"file://{published}/index.html")
    assert "python -m http.server" in page.inner_text("#failure")
    page.close()


def test_the_page_names_the_tokenizers_and_variants_that_python_has() -> None:
    page = REPOSITORY / "gpt" / "playground" / "page"
    kinds = re.search(r"const kinds = {(.*)};", (page / "encoding.js").read_text())
    assert kinds is not None
    assert {*re.findall(r"(\w+):", kinds[1])} == TOKENIZERS
    trained = "".join((page / name).read_text() for name in ("payoff.js", "training/experiments.js"))
    named = {*re.findall(r'stage: "(\w+)", variant: "(\w+)"', trained)}
    assert named == {(stage, variant) for stage, variants in static.VARIANTS.items() for variant in variants}


def test_run_folders_give_exactly_these_runs(several: Path, tmp_path: Path) -> None:
    newest = static.newest_of_each_stage([several / "runs"])
    v1, v6 = newest["v1"].path, newest["v6"].path
    again = RunFolder(Path(shutil.copytree(v6, tmp_path / "again")))
    again.update(name="best")
    found = static.exactly([v6, v1, tmp_path / "again", v6])
    assert {name: run.path for name, run in found.items()} == {
        "v6": v6,
        "v1": v1,
        "best": tmp_path / "again",
        "v6_2": v6,
    }


def test_a_run_whose_graph_differs_is_left_out(
    several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def only_v1(name: str, run: RunFolder, folder: Path, *others: object) -> tuple[dict, list[str]]:
        folder.mkdir(parents=True)
        if name == "v6":
            raise UserError("the export failed: inside.onnx differs from the run by 0.1")
        return {"stage": name}, []

    monkeypatch.setattr(static, "export_run", only_v1)
    newest = static.newest_of_each_stage([several / "runs"])
    static.write({name: newest[name] for name in ("v1", "v6")}, tmp_path / "site", downloads())
    assert list(json.loads((tmp_path / "site" / "runs.json").read_text())) == ["v1"]
    assert not (tmp_path / "site" / "graphs" / "v6").exists()
    assert any("v6" in message and "inside.onnx" in message for message in caplog.messages)


def test_nothing_is_written_without_graph_engine_or_free_folder(
    counting: Path, published: Path, several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = static.newest_of_each_stage([several / "runs"], "v6")
    with pytest.raises(RequestError, match="browser"):
        static.write({"v9": RunFolder(counting)}, tmp_path / "site", downloads())
    with pytest.raises(RequestError, match=str(published)):
        static.write(runs, published, tmp_path / "data")
    assert not (tmp_path / "data").exists()  # nor is the engine downloaded
    monkeypatch.setenv("PATH", str(tmp_path))  # without npm
    with pytest.raises(UserError, match=r"onnxruntime-web-.*\.tgz"):
        static.write(runs, tmp_path / "site", tmp_path / "data")
    assert not (tmp_path / "site").exists()
