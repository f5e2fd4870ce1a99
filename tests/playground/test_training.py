"""Training in the page: the stage's own loss and gradients, in a worker of a real browser."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

import gpt
from gpt import models
from gpt.base.errors import RequestError
from gpt.data.lines import recall
from gpt.exporting.training_graphs import export_training
from gpt.playground import static
from gpt.registry import Choice
from gpt.runs.folder import RunFolder
from gpt.session.trained import TrainedRun
from gpt.training.optimizers import AdamW
from tests.conftest import stage_config
from tests.playground.browsing import Visit, downloads, violations, visit
from tests.playground.conftest import serving_files

# With a rate of 1e-2, PyTorch itself ends up to 2e-2 away if its weights are nudged by 1e-7: a unit that is almost dead
# learns from one token or from none, and Adam makes a whole step of either. With 1e-3 it ends within 5e-6.
ITERATIONS, BATCH, RATE = 50, 16, 1e-3

# The page's training on batches that begin at these places, with its graphs and its optimizer.
TRAINED = """async ([stage, ids, places, rate]) => {
  const { asked } = await import("./engines/asking.js");
  const { Training } = await import("./training/training.js");
  const { parseSafetensors } = await import("./engines/tensors.js");
  const run = (await (await fetch("runs.json")).json())[stage];
  const weights = parseSafetensors(
    await (await fetch(`graphs/${stage}/weights/${run.moments[0]}.safetensors`)).arrayBuffer());
  let first = null;
  const graph = (file) => async (weights, batch, idx, targets) => {
    const dims = [batch, run.block_size];
    const inputs = { idx: { type: "int64", data: idx, dims }, targets: { type: "int64", data: targets, dims } };
    for (const [name, { shape, data }] of Object.entries(weights))
      inputs[name] = { type: "float32", data, dims: shape };
    const outputs = await asked("compute", `graphs/${stage}/${file}`, null, inputs);
    first ??= Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, [...data]]));
    return outputs;
  };
  const all = Int32Array.from(ids);
  const { block_size: blockSize, answers_only: answersOnly } = run;
  const settings = { learningRate: rate, batchSize: places[0].length, seed: 1, blockSize, answersOnly };
  const training = new Training(
    { step: graph("training.onnx"), loss: graph("loss.onnx") }, weights, { train: all, val: all }, settings);
  const losses = [];
  for (const starts of places) losses.push(await training.iterate(starts));
  return [first, losses];
}"""


def test_it_trains_as_pytorch_does(browser: Any, site: str, published: Path, load: Callable[..., TrainedRun]) -> None:
    run, draw = load("v8"), torch.Generator().manual_seed(1)
    ids = torch.randint(run.task.vocab_size, (500,), generator=draw)
    places = torch.randint(len(ids) - run.model.block_size, (ITERATIONS, BATCH), generator=draw)
    with visit(browser, f"{site}/#v8") as visited:
        check_training(visited, published, run, "v8", ids, places)


def check_training(
    visited: Visit, published: Path, run: TrainedRun, name: str, ids: torch.Tensor, places: torch.Tensor
) -> None:
    """Train on windows that begin at these places, and compare the losses and the first gradients with PyTorch's."""
    described = json.loads((published / "runs.json").read_text())[name]
    weights = published / "graphs" / name / "weights" / f"{described['moments'][0]}.safetensors"
    model = models.build(run.config.model, run.task.vocab_size).train()
    model.load_state_dict(load_file(weights), strict=False)
    first, losses = visited.page.evaluate(TRAINED, [name, ids.tolist(), places.tolist(), RATE])
    T, counted = described["block_size"], slice(-1 if described["answers_only"] else None, None)
    optimizer = AdamW(model, RATE, weight_decay=0.01, beta1=0.9, beta2=0.999)
    for i, starts in enumerate(places):
        windows = torch.stack([ids[start : start + T + 1] for start in starts])
        logits, targets = model(windows[:, :-1])[:, counted], windows[:, 1:][:, counted]
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        if i == 0:
            for name, weight in model.named_parameters():
                found = torch.tensor(first[f"gradient.{name}"]).view_as(weight)
                assert weight.grad is not None
                assert (found - weight.grad).abs().max() <= 1e-4 * weight.grad.abs().max(), name
        assert losses[i] == pytest.approx(loss.item(), abs=5e-5)
        optimizer.step({"all": RATE}, torch.zeros(()))


def test_lines_are_trained_on_their_answers(browser: Any, tmp_path: Path) -> None:
    small = ["model=v6", "model.n_layer=2", "model.n_head=1", "model.block_size=9", "training.max_iters=2"]
    run = gpt.train(*small, "data=recall", "data.distance=0", "checkpoint.snapshots=2", folder=tmp_path / "v6")
    static.write({"lines": RunFolder(tmp_path / "v6")}, tmp_path / "site", downloads())
    with serving_files(tmp_path / "site") as address, visit(browser, f"{address}/#lines") as visited:
        page = visited.page
        page.emulate_media(reduced_motion="reduce")  # answers are there at once
        ids = run.tokenizer.encode(recall(4, 0, 100).train)
        places = 11 * torch.randint(90, (ITERATIONS, BATCH), generator=torch.Generator().manual_seed(1))
        check_training(visited, tmp_path / "site", run, "lines", ids, places)
        assert page.locator("#training .chips label:visible").all_inner_texts() == ["new lines"]
        page.get_by_text("Settings", exact=True).click()
        page.get_by_role("spinbutton", name="Iterations").fill("3")
        page.get_by_role("button", name="Train", exact=True).click()
        page.get_by_role("button", name="Train again").wait_for()
        (share,) = re.findall(r"([\d.]+)% of new lines answered right", visited.text("#training"))
        assert f"{share}% are answered right" in page.locator("#training .curve svg").get_attribute("aria-label")
        lines = re.findall(r"(?m)^((?:[a-z]\d){4}[a-z]) → (.)(, wrong)?$", visited.text("#training .sample"))
        assert len(lines) == 6
        for question, answer, wrong in lines:
            assert (question[question.index(question[-1]) + 1] != answer) == bool(wrong)


OTHER_ALPHABET = "Ночь, улица, фонарь, аптека, бессмысленный и тусклый свет.\n" * 40


def own_text(page: Any) -> None:
    """Choose a text of one's own, and unfold the settings."""
    page.get_by_text("your own", exact=True).click()
    page.locator("#training .foot details").evaluate("settings => settings.setAttribute('open', '')")


def begin(visited: Visit, *, iterations: int) -> None:
    """Train on a text of one's own."""
    page = visited.page
    own_text(page)
    page.get_by_label("Your own text").fill(OTHER_ALPHABET)
    page.get_by_role("spinbutton", name="Iterations").fill(str(iterations))
    page.get_by_label("Learning rate").fill("0.01")
    page.get_by_role("button", name="Train", exact=True).click()


def test_every_view_follows_a_text_in_another_alphabet(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v6", width=390, theme="dark") as visited:
        page = visited.page
        begin(visited, iterations=120)
        page.get_by_role("button", name="Train again").wait_for()
        assert page.locator("#training .progress").inner_text() == "iteration 120 of 120"
        page.wait_for_selector("#training .sample:visible")
        visited.settled()
        assert "trained on your text" in visited.text(".heading .facts")
        assert "Ночь" in visited.text(".text")
        assert float(visited.text(".mean b")) < 2  # 3.5 before
        assert page.locator(".distribution svg").count() > 0
        assert page.locator(".map").count() > 1
        page.locator(".moments input").first.press("Home")
        visited.settled()
        assert float(visited.text(".mean b")) > 3  # the weights as they were before the first iteration
        visited.go()
        assert set(page.locator(".text .written").all_inner_texts()) <= {*OTHER_ALPHABET, "↵\n", "↵"}
        visited.check_look()


def test_it_is_paused_goes_on_steps_and_starts_over(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v1") as visited:
        page, said = visited.page, visited.page.locator("#training .progress")
        begin(visited, iterations=100_000)
        page.wait_for_selector("#training .progress:has-text('a second')")
        assert "trained on" not in visited.text(".heading .facts")  # while it trains, only its card is drawn
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go on").wait_for()
        page.wait_for_selector(".heading .facts:has-text('trained on your text')")
        before = said.inner_text()
        page.wait_for_timeout(300)
        assert said.inner_text() == before
        iteration = "Number(document.querySelector('#training .progress').innerText.split(' ')[1].replace(',', ''))"
        number = page.evaluate(iteration)
        page.get_by_role("button", name="Step").click()
        # Its first news is an estimate of the weights before it.
        page.wait_for_function(f"n => {iteration} === n + 1", arg=number)
        page.get_by_role("button", name="Start over").click()
        page.wait_for_function(f"n => {iteration} < n", arg=number)
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go on").wait_for()


REFUSED = {"": "0 characters", "a" * 500: "one character"}


# Whether the text in the card was ever empty since its first one.
EMPTY = """() => {
  const sample = document.querySelector("#training .sample");
  globalThis.empty = false;
  new MutationObserver(() => { globalThis.empty ||= !sample.textContent; }).observe(sample, { childList: true });
}"""


def test_the_last_text_stays_until_there_is_another(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/?embed&train&first#v1") as visited:
        page = visited.page
        page.wait_for_selector("#training .progress:has-text('played back')")
        page.evaluate(EMPTY)
        for name in ("Train", "Train again"):
            page.get_by_role("button", name=name, exact=True).click()
            page.get_by_role("button", name="Train again").wait_for()
        assert not page.evaluate("empty")


def test_a_text_that_does_not_suit_is_refused(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v1") as visited:
        page = visited.page
        own_text(page)
        for given, words in REFUSED.items():
            page.get_by_label("Your own text").fill(given)
            page.get_by_role("button", name="Train", exact=True).click()
            page.wait_for_selector(f"#training .failure:has-text('{words}')")
            assert page.locator("#training .progress").inner_text() == ""


DROP = """(area, [name, bytes]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([Uint8Array.from(bytes)], name));
  area.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def test_a_dropped_file_is_read_whole_or_refused(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v1") as visited:
        page = visited.page
        own_text(page)
        area = page.get_by_label("Your own text")
        area.evaluate(DROP, ["photo.jpg", [0xFF, 0xD8]])
        page.wait_for_selector("#training .own:has-text('photo.jpg: ')")
        area.evaluate(DROP, ["input.txt", list(b"ab\r\n" * 6000)])
        page.wait_for_selector("#training .own:has-text('24,000 characters of input.txt')")
        page.get_by_role("spinbutton", name="Iterations").fill("1")
        page.get_by_role("button", name="Train", exact=True).click()
        page.get_by_role("button", name="Train again").wait_for()
        visited.settled()
        assert page.locator("#first option", has_text="trained here, 1").count() == 1
        assert "· 16 parameters" in f"· {visited.text('.heading .facts')}"
        page.get_by_role("button", name="Clear").click()
        assert area.input_value() == ""


# All that a training tells, and the texts that its run keeps.
TOLD = """async (iterations) => {
  const { runs, train } = await import("./engines/onnx.js");
  const base = (await runs()).runs.find(({ stage }) => stage === "v6");
  const text = { content: (await (await fetch("texts/names.txt")).text()), name: "names", isDocumented: false };
  const told = [];
  const { promise, resolve } = Promise.withResolvers();
  const chosen = { learningRate: 0.01, batchSize: 16, iterations, seed: 1 };
  const training = await train(base, text, chosen, (progress) => {
    told.push(progress);
    if (progress.ended) resolve();
  });
  await training.go();
  await promise;
  training.forget();
  return [told, training.run.texts];
}"""
MOMENTS = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500]


def estimates(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [progress["estimate"] for progress in told if "estimate" in progress]


def test_an_update_and_a_text_come_before_the_first_estimate(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v6") as visited:
        told, _ = visited.page.evaluate(TOLD, 500)
    before = told[: next(place for place, progress in enumerate(told) if "estimate" in progress)]
    assert "text" in before[0]
    assert any(progress["iteration"] > 0 for progress in before)


def test_texts_come_in_order_while_it_trains(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v6") as visited:
        (told, kept), (told_again, again) = (visited.page.evaluate(TOLD, 500) for _ in range(2))
    assert [text["iteration"] for text in kept] == MOMENTS
    assert kept == again
    assert estimates(told) == estimates(told_again)
    assert [estimate["iteration"] for estimate in estimates(told)] == list(range(0, 501, 50))
    assert all(len(text["text"]) == 100 for text in kept)
    newest = -1
    for progress in told:
        if "text" in progress:
            assert progress["text"]["iteration"] == progress["iteration"] >= newest
            newest = progress["iteration"]
        assert newest >= max((n for n in MOMENTS if n < progress["iteration"]), default=0)


COMPARED = """async ([settings, changed, chosen]) => {
  const [{ ordered }, { documentedInWords }] = await Promise.all(
    [import("./training/order.js"), import("./curve.js")]);
  const run = (await (await fetch("runs.json")).json()).v2;
  const base = { ...run, changed, documented: { val: 2.4084, settings } };
  const text = { content: "", isDocumented: true };
  const { run: made } = ordered(base, text, { vocabulary: ["a", "b"] }, { seed: 1, ...chosen }, []);
  return [made.changed, documentedInWords(made)];
}"""


def test_the_documented_loss_is_shown_with_what_differs(browser: Any, site: str, published: Path) -> None:
    documented = json.loads((published / "runs.json").read_text())["v2"]["documented"]
    assert documented["val"] == 2.4084
    chosen = {"iterations": 5000, "batchSize": 32, "learningRate": 0.001}
    with visit(browser, f"{site}/#v1") as visited:
        for changes, given, words in (
            ([], chosen, "documented: 2.4084"),
            ([], chosen | {"iterations": 2000}, "documented with other settings: 2.4084"),
            (["model.n_embd=64"], chosen, ""),
        ):
            changed, said = visited.page.evaluate(COMPARED, [documented["settings"], changes, given])
            assert said == words
            assert ("training.max_iters=2000" in changed) == (given is not chosen)


def test_nan_stops_with_advice(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v2") as visited:
        page = visited.page
        begin(visited, iterations=1)
        page.wait_for_selector("#training .progress:has-text('iteration 1 of 1')")
        page.get_by_label("Learning rate").evaluate("rate => rate.removeAttribute('max')")
        page.get_by_label("Learning rate").fill("1e15")  # with which any stage diverges at once
        page.get_by_role("spinbutton", name="Iterations").fill("20")
        page.get_by_role("button", name="Train again").click()
        page.wait_for_selector("#training .failure:has-text('learning rate')")


ASKS = "() => !dispatchEvent(new Event('beforeunload', { cancelable: true }))"
FAILING = """() => {
  const { put } = IDBObjectStore.prototype;
  IDBObjectStore.prototype.put = function (...given) {
    IDBObjectStore.prototype.put = put;
    const request = put.apply(this, given);
    request.addEventListener("success", () => this.transaction.abort());
    return request;
  };
}"""


def test_a_training_is_kept_over_a_reload(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v6") as visited:
        page = visited.page
        assert not page.evaluate(ASKS)
        begin(visited, iterations=120)
        page.wait_for_selector("#training .progress:has-text('iteration 120 of 120')")
        assert page.evaluate(ASKS)
        keep = page.get_by_role("button", name="Keep in this browser")
        page.evaluate(FAILING)
        keep.click()
        page.wait_for_selector("#training .failure:has-text('stored')")
        assert page.evaluate(ASKS)
        keep.click()
        page.wait_for_selector("#training .note:has-text('Kept')")
        assert not page.evaluate(ASKS)
        visited.settled()
        texts, loss = page.locator(".writing button").all_inner_texts(), visited.text(".mean b")
        assert texts == ["0", "1", "2", "5", "10", "20", "50", "100", "120"]
        shown, prompt = page.locator("#first option").first.inner_text(), page.input_value("#prompt")

        page.reload()
        visited.settled()
        option = page.locator("#first option", has_text=shown)
        page.locator("#first").select_option(option.get_attribute("value"))
        visited.settled()
        visited.ask(prompt)
        assert visited.text(".mean b") == loss
        assert page.locator(".writing button").all_inner_texts() == texts
        page.get_by_role("button", name="Forget this training").click()
        page.wait_for_load_state()
        visited.settled()
        assert page.locator("#first option", has_text=shown).count() == 0


HEARD = """() => {
  globalThis.heard = new Promise((resolve) => {
    addEventListener("message", ({ data }) => { if (data.trained) resolve(data.trained); });
  });
}"""


def test_the_first_screen_plays_back_a_training_then_trains(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/?embed&train&first#v1") as visited:
        page = visited.page  # which is its own parent here
        page.wait_for_selector("#training .progress:has-text('played back')")
        visited.check_look()
        assert page.locator("button:visible.primary").count() == 1
        page.evaluate(HEARD)
        page.get_by_text("Settings", exact=True).click()
        page.get_by_role("spinbutton", name="Iterations").fill("20")
        page.get_by_label("Learning rate").fill("0.003")
        page.get_by_role("button", name="Train", exact=True).press("Enter")
        page.wait_for_selector("#training .progress:has-text('iteration 20 of 20')")
        heard = page.evaluate("Promise.race([heard, new Promise((end) => setTimeout(end, 20_000))])")
        assert f"yours: {heard['loss']:.4f} on the validation split" in page.locator("#training").inner_text()
        changed = ["training.max_iters=20", "training.batch_size=16", "training.learning_rate=0.003"]
        assert (heard["stage"], heard["changed"]) == ("v1", changed)
        assert not page.locator("#prompt").is_visible()
        page.get_by_role("button", name="Look inside").click()
        visited.settled()
        assert "trained on tiny Shakespeare" in visited.text(".heading .facts")
        assert page.locator("#prompt").is_visible()


def test_an_experiment_is_guessed_run_and_told(browser: Any, site: str) -> None:
    with visit(browser, f"{site}/#v1") as visited:
        page = visited.page
        page.get_by_text("Experiments: guess, then see").click()
        page.get_by_role("button", name="A text of abcabcabc").click()
        page.get_by_role("button", name="nearly 0").click()
        page.wait_for_selector(".experiment:has-text('You guessed right: nearly 0.')")
        assert float(page.locator(".summary td").last.inner_text()) < 0.05
        page.get_by_role("button", name="A hundred times the learning rate").click()
        page.get_by_role("button", name="lower").click()
        page.wait_for_selector(".experiment figure")  # its picture of one point of each has no warning
        assert violations(page) == []


def test_a_stage_that_cannot_be_trained_says_why(counting: Path, published: Path) -> None:
    described = json.loads((published / "runs.json").read_text())
    assert described["v8"]["training"]["optimizer"] == "Muon"
    with pytest.raises(RequestError, match="training text"):
        export_training(RunFolder(counting).config().model, counting)
    with pytest.raises(RequestError, match="dropout"):
        export_training(Choice.model_validate(OmegaConf.to_container(stage_config("v7").model)), counting)
