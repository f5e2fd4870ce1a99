"""The page in a browser: every control is used, and its effect seen."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gpt
from gpt.config.command_schemas import SamplingConfig
from gpt.data.pairs import Subwords
from gpt.playground import inspect
from gpt.playground.describe import in_full
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.sampling import SURVIVORS, choose, penalised, shaped, until
from tests.playground.browsing import PROMPT, Visit, looked, losses, visit
from tests.playground.conftest import MANY_ALPHABETS, Served, serving


@pytest.fixture(scope="module")
def ids(served: Served) -> dict[str, str]:
    return served.ids()


@pytest.fixture(scope="module")
def v6(load: Callable[..., TrainedRun]) -> TrainedRun:
    return load("v6")


@pytest.fixture(scope="module")
def any_text(tokenized: Path) -> Iterator[Served]:
    """Runs of bytes, subwords and words."""
    with serving(tokenized / "runs") as server:
        yield server


def ids_by_token(served: Served) -> dict[str, str]:
    runs = [served.get(f"/api/runs/{run['id']}")[1] for run in served.get("/api/runs")[1]["runs"]]
    return {run["token"]: run["id"] for run in runs}


@pytest.fixture
def page(browser: Any, served: Served, ids: dict[str, str]) -> Iterator[Visit]:
    """The page on v6, with a prompt."""
    with visit(browser, f"{served.address}/#{ids['v6']}") as visited:
        visited.ask(PROMPT)
        yield visited


def shown_text(page: Any, panel: str = ".panel.a") -> str:
    """The text of a panel, without its marks."""
    found = page.locator(f"{panel} .text span:not(.end)").all_text_contents()
    return "".join(character.removeprefix("↵") for character in found)


def predictions(run: TrainedRun, text: str) -> torch.Tensor:
    return inspect.logits(run, run.tokenizer.encode(text).tolist())


@pytest.mark.parametrize(("width", "theme"), [(1024, "light"), (390, "dark")])
def test_the_page_fits_and_can_be_read(
    browser: Any, served: Served, ids: dict[str, str], width: int, theme: str
) -> None:
    """On a desk by day and on a phone by night: nothing sticks out, and axe-core finds nothing."""
    for chosen in (ids["v6"], f"{ids['v4']},{ids['v6']}", ids["v1"], ids["transformer"]):
        with visit(browser, f"{served.address}/#{chosen}", width=width, theme=theme) as visited:
            visited.go()
            if chosen != ids["transformer"]:
                visited.click(".panel.a .text span", 5)
                for summary in visited.page.locator(".inside summary").all():
                    summary.click()
                looked(visited)
                for button in visited.page.get_by_role("button", name="layer 1, head 2 off").all():
                    button.click()
                looked(visited)
            visited.check_look()


def test_a_chosen_character_is_explained_by_what_the_run_saw(page: Visit, v6: TrainedRun) -> None:
    page.click(".text span", 4)
    assert page.text(".panel section:nth-of-type(2) h3") == "After “Abc ”"
    assert "next was “d”" in page.text(".answer")
    rank = sorted(v6.next_token("Abc ").values(), reverse=True).index(v6.next_token("Abc ")["d"]) + 1
    assert f"rank {rank}," in page.text(".answer")
    assert page.page.locator(".text [aria-selected=true]").inner_text() == "d"
    # What it looked at is underlined: the four characters before it, no other.
    looked = [
        float(span.evaluate("e => e.style.getPropertyValue('--look') || 0"))
        for span in page.page.locator(".text span:not(.end)").all()
    ]
    assert max(looked[:4]) == 1
    assert not any(looked[4:])
    # The window of 8 characters is marked and named, and not more of the text.
    for position, title in ((12, "de.↵Fgh "), (3, "Abc")):
        page.click(".text span", position)
        assert page.text(".panel section:nth-of-type(2) h3").strip() == f"After “{title}”"
        classes = [span.get_attribute("class") or "" for span in page.page.locator(".text span").all()]
        seen = [i for i, names in enumerate(classes) if "seen" in names]
        assert seen == list(range(max(0, position - 8), position))


def test_the_distribution_moves_with_the_settings(page: Visit, v6: TrainedRun) -> None:
    V, x = v6.task.vocab_size, predictions(v6, PROMPT)[-1]
    page.slide("temperature", 0.5)
    assert page.text("#formula") == "softmax(t · x), t = 1/T = 2.00"
    likeliest = f"{100 * (x / 0.5).softmax(-1).max():.1f}%"
    assert likeliest in page.page.locator(".distribution svg").get_attribute("aria-label")
    page.slide("temperature", 1)
    page.page.click("#rare summary")
    assert page.page.locator("#rare input").count() == 4
    p = x.softmax(-1).sort(descending=True).values
    nucleus = int((p.cumsum(-1) - p < 0.5).sum())
    for name, value, left, neutral in (
        ("temperature", 0, 1, 1),
        ("top-k", 3, 3, V),
        ("top-p", 0.5, nucleus, 1),
        ("min-p", 1, 1, 0),
        ("typical-p", 0.05, 1, 1),
    ):
        for place, kept in ((value, left), (neutral, V)):
            page.slide(name, place)
            assert f"{kept} of {V} can be drawn" in page.text(".distribution figcaption")
    assert page.text("#top-k-value") == "off"
    page.slide("repetition-penalty", 2)
    assert page.text("#repetition-penalty-value") == "2.00"
    assert "Outlines: without these settings" in page.text(".distribution figcaption")


def test_a_text_is_written_and_coloured(page: Visit, v6: TrainedRun) -> None:
    page.slide("temperature", 0.8)
    page.slide("top-k", 5)
    for seed in (7, 8):
        page.go(tokens=60, seed=seed)
        written = v6.generate(PROMPT, tokens=60, seed=seed, temperature=0.8, top_k=5)
        assert shown_text(page.page) == PROMPT + written
        assert page.page.locator(".text .written").count() == 60
        assert "generated" in page.text(".mean")
        assert "loss" in page.page.locator(".text .written").nth(30).get_attribute("aria-label")
    page.page.click("#rare summary")
    page.go(stop=written[20:22].replace("\n", "\\n"))
    assert shown_text(page.page) == PROMPT + written.partition(written[20:22])[0]


def test_a_stopped_text_is_explained(page: Visit) -> None:
    page.page.route("**/api/text", lambda route: None)  # an answer that does not come
    page.page.fill("#prompt", "Abc")
    page.page.click("#go")
    page.page.locator(".mean", has_text="generating").wait_for()
    assert page.page.locator("#go").is_disabled()
    page.click("#halt")
    assert not page.page.locator("#halt").is_visible()
    assert page.text(".panel section:nth-of-type(2) h3") == "After “Abc”"


def test_every_head_is_shown(page: Visit, v6: TrainedRun) -> None:
    layers = v6.attention(PROMPT)
    assert page.page.locator(".maps .map").count() == 1 + len(layers) * len(layers[0])
    page.page.get_by_role("button", name="layer 2, head 3").click()
    assert page.text(".map-title") == "Layer 2, head 3"
    window = PROMPT[-v6.model.block_size :]
    weights, start = layers[1][2], len(PROMPT) - len(window)
    page.page.locator("canvas.large").focus()
    for row in range(3):
        page.page.keyboard.press("ArrowDown")
        assert len(page.text(".said").split(", ")) == row + 1  # no masked character is listed
        best = int(weights[row].argmax())
        name = {" ": "space", "\n": "new line"}.get(window[best], window[best])
        assert f"attends to {name} {100 * weights[row, best]:.0f}%" in page.text(".said")
    spans = page.page.locator(".text span")
    assert "query" in spans.nth(start + 2).get_attribute("class")
    page.page.locator("#prompt").focus()
    look = "e => e.style.getPropertyValue('--look')"
    lit = [float(span.evaluate(look)) for span in spans.all()[start : len(PROMPT)]]
    assert lit == pytest.approx((weights[-1] / weights[-1].max()).tolist(), abs=2e-3)


def test_counts_that_decide_are_shown(browser: Any, counting: Path) -> None:
    run = gpt.load(counting, device="cpu")
    prompt = "abcdabcdabcd"
    found = inspect.interventions(run, run.tokenizer.encode(prompt).tolist())
    with serving(counting.parent) as served, visit(browser, served.address, width=390) as visited:
        visited.ask(prompt)
        assert "the counts decide here" in visited.text(".tested")
        rows = [tuple(row.locator("td").all_inner_texts()) for row in visited.page.locator(".counts tbody tr").all()]
        likeliest = [
            f"{run.tokenizer.shown[int(p.argmax())].replace(' ', '␣')} {100 * p.max():.1f}%" for p in found["counts_p"]
        ]
        seen, trust = (
            [form.format(x) for x in found[f"counts_{name}"].tolist()]
            for name, form in (("seen", "{:.0f}"), ("trust", "{:.2f}"))
        )
        assert rows == list(zip(["d", "cd", "bcd"], seen, trust, likeliest, strict=True))
        visited.check_look()
        visited.ask("")
        assert not visited.page.locator(".counts").is_visible()


def test_two_runs_are_shown_side_by_side(
    page: Visit, ids: dict[str, str], load: Callable[..., TrainedRun], v6: TrainedRun
) -> None:
    page.page.select_option("#first", ids["v1"])
    page.settled()
    page.page.select_option("#second", ids["v6"])
    page.settled()
    assert page.page.evaluate("location.hash").startswith(f"#{ids['v1']},{ids['v6']}&")
    v1 = load("v1")
    means = [sum(found) / len(found) for found in (losses(v1), losses(v6))]
    better, worse = ("v1", "v6") if means[0] < means[1] else ("v6", "v1")
    said = f"{better} predicts this prompt better than {worse}: by {abs(means[0] - means[1]):.2f} nats"
    assert page.text(".verdict").startswith(said)
    assert page.page.locator(".differences span").count() == len(PROMPT)
    page.go(tokens=30)
    for side, run in (("a", v1), ("b", v6)):
        assert shown_text(page.page, f".panel.{side}") == PROMPT + run.generate(PROMPT, tokens=30)
    assert "the same from the last character alone" in page.text(".panel.a")


HARD = [
    "", "a", "Don't we'll I'M 'tis the boys' 're x's", "a  b   c    \n", "\n\n\n a\r\n\t b \n\n",
    "naïve café Ångström e\u0301", "東京\u3000は夜 中文字符", "😀 👩\u200d👩\u200d👧 🇩🇪", "1234 ½ ² ٣ x=1;",
    "\ufeffa\ufeff \u0085 \xa0b\u2028c \x1c\0\x7f", "x" * 300, MANY_ALPHABETS[-500:],
]  # fmt: skip

ENCODED = """async ([runs, sentences, texts, more]) => {
  const { SentenceSubwords, tokenizer } = await import("./encoding.js");
  const joined = (arrays) => [].concat(...arrays.map((array) => Array.from(array)));
  const translator = new SentenceSubwords({ tokenizer: sentences });
  return [runs.map(tokenizer).map((made) => texts.map((text) => {
    const ids = made.encode(text);
    return [ids, ids.map((id) => made.shown[id]), joined(ids.map((id) => made.bytes(id)))];
  })), more.map((text) => [translator.encode(text), translator.known(text)])];
}"""


def test_the_page_encodes_as_the_runs_do(browser: Any, any_text: Served, tokenized: Path) -> None:
    """Texts that are easy to split into other tokens."""
    runs = [gpt.load(tokenized / "runs" / tokens, device="cpu") for tokens in ("bytes", "subwords", "words")]
    described = [in_full("id", run.run, run.summary) for run in runs]
    hard = [*HARD, "Ein Mann, der lächelt.", "--a (b)!", "it's 5 o'clock_here", " a", "\u2581a \u2581"]
    subwords = Subwords.trained_on([*hard[:4], *hard[-5:-1]] * 3, 90)
    sentences = [text for text in hard if "\x1c" not in text]  # which Python takes for a blank
    given = [described, {"vocabulary": subwords.vocabulary, "merges": subwords.merges}, HARD, sentences]
    with visit(browser, any_text.address) as visited:
        found, translated = visited.page.evaluate(ENCODED, given)
    for run, answers in zip(runs, found, strict=True):
        for text, (ids, shown, utf8) in zip(HARD, answers, strict=True):
            known, _ = run.tokenizer.without_unknown(text)
            assert ids == run.tokenizer.encode(known).tolist()
            assert shown == [run.tokenizer.shown[i] for i in ids]
            assert bytes(utf8) == known.encode()
    for text, (ids, known) in zip(sentences, translated, strict=True):
        assert known == subwords.known_part(text)[0]
        assert ids == subwords.encode_all([known])[0]


def test_a_run_is_shown_and_writes_by_subword(browser: Any, any_text: Served, tokenized: Path) -> None:
    run = gpt.load(tokenized / "runs" / "subwords", device="cpu")
    prompt = "Don't we'll naïve\n東京  "
    with visit(browser, f"{any_text.address}/#{ids_by_token(any_text)['subword']}") as visited:
        visited.page.fill("#prompt", prompt)
        visited.go(tokens=80, seed=7)
        spans = visited.page.locator(".text span:not(.end)")
        texts = (prompt, run.generate(prompt, tokens=80, seed=7))
        tokens = [run.tokenizer.shown[i] for text in texts for i in run.tokenizer.encode(text)]
        assert [span.replace("↵", "") for span in spans.all_text_contents()] == tokens
        for (_, loss), span in zip(run.losses(prompt), spans.all()[1:9], strict=False):
            assert span.get_attribute("title").startswith(f"loss {loss:.2f} · ")
        assert "nats per subword" in visited.text(".mean")
        assert "other subwords" in visited.text(".distribution figcaption")
        assert visited.text("#tokens-label") == "Subwords"
        visited.click(".text span:not(.end)", 3)
        assert f"next was “{tokens[3].replace(' ', '␣')}”" in visited.text(".answer")


def test_runs_with_other_tokens_are_compared_per_character(browser: Any, any_text: Served, tokenized: Path) -> None:
    prompt = "Don't we'll café"
    ids = ids_by_token(any_text)
    per_character = []
    for tokens in ("bytes", "subwords"):
        run = gpt.load(tokenized / "runs" / tokens, device="cpu")
        encoded = run.tokenizer.encode(prompt)
        nats = torch.nn.functional.cross_entropy(predictions(run, prompt)[:-1], encoded[1:], reduction="sum")
        per_character.append(nats.item() / run.tokenizer.sizes[encoded[1:], 0].sum().item())
    with visit(browser, f"{any_text.address}/#{ids['byte']},{ids['subword']}", width=390) as visited:
        visited.ask(prompt)
        assert f"by {abs(per_character[0] - per_character[1]):.2f} nats per character" in visited.text(".verdict")
        visited.click(".panel.a .text span", 2)  # within the other run's first or second token
        assert "n" in visited.page.locator(".panel.b [aria-selected=true]").inner_text()


def test_the_address_keeps_runs_prompt_and_settings(page: Visit, ids: dict[str, str]) -> None:
    page.page.select_option("#second", ids["v2"])
    page.settled()
    page.page.fill("#tokens", "60")
    page.page.fill("#seed", "7")
    page.slide("temperature", 0.8)
    page.slide("top-k", 5)
    page.settled()
    page.page.reload()
    page.settled()
    assert [page.text(f".panel.{side} .badge") for side in "ab"] == ["v6", "v2"]
    assert page.page.input_value("#prompt") == PROMPT
    assert shown_text(page.page) == PROMPT
    assert [page.page.input_value(f"#{name}") for name in ("temperature", "top-k", "top-p", "tokens", "seed")] == [
        "0.8",
        "5",
        "1",
        "60",
        "7",
    ]


def test_it_can_be_used_with_the_keyboard_alone(page: Visit) -> None:
    keyboard = page.page.keyboard
    page.page.locator("#prompt").focus()
    keyboard.press("End")
    keyboard.type(" bcd")
    keyboard.press("Control+Enter")
    page.settled()
    assert page.page.locator(".text .written").count() == 200
    reached = []
    page.page.locator("#prompt").focus()
    while "prompt" not in reached:  # once around
        keyboard.press("Tab")
        reached.append(page.page.evaluate("document.activeElement.id || document.activeElement.className"))
        if reached[-1] == "text":
            keyboard.press("Home")
            keyboard.press("ArrowRight")
            page.settled()
            assert "next was “b”" in page.text(".answer")
    assert {"go", "temperature", "top-k", "top-p", "tokens", "seed", "text", "map", "large"} <= set(reached)


def test_a_theme_is_kept(page: Visit) -> None:
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    assert page.page.evaluate(scheme) != "dark"
    page.page.click("#theme")
    page.page.click("#theme")
    page.page.reload()
    page.settled()
    assert page.page.evaluate(scheme) == "dark"


def test_unknown_characters_are_left_out_and_named(page: Visit) -> None:
    page.ask("Abcé <img src=x onerror=alert(1)> de")
    assert "é" in page.text("#unknown")
    assert page.page.locator("main img").count() == 0
    page.ask("日本")
    page.page.click("#go")
    assert "character" in page.text("#failure")


def test_a_translator_shows_its_beams_and_where_they_look(
    page: Visit, ids: dict[str, str], load: Callable[..., TrainedRun]
) -> None:
    page.page.select_option("#first", ids["transformer"])
    page.settled()
    run = load("transformer")
    assert page.text(".beam .words").strip() == run.generate(page.page.input_value("#prompt"))  # at once
    page.ask("a b c d €")
    assert page.text(".card:has(.beams) > [role=status]") == "Press Translate."
    assert page.text("#unknown").endswith("lacks them: €")
    page.page.fill("#prompt", "a b c d")
    page.go(beam=3, **{"length-penalty": 0.5})
    beams = page.page.locator(".beam")
    assert beams.count() == 3
    best = run.generate("a b c d", beam=3, length_penalty=0.5)
    assert beams.first.locator(".words").inner_text().strip() == best
    scores = [float(score) for score in page.page.locator(".score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert page.page.locator(".maps .map").count() == 1 + len(run.model.decoder) * run.model.decoder[0].attention.n_head
    page.click(".beam", 1)
    assert beams.nth(1).get_attribute("aria-pressed") == "true"
    page.page.locator("canvas.large").focus()
    page.page.keyboard.press("ArrowDown")
    assert re.search(r"attends to .+ \d+%", page.text(".said"))
    assert page.page.locator(".beam .query").count() == 1


def test_a_server_that_is_gone_is_told_in_a_line(browser: Any, several: Path) -> None:
    with serving(several / "runs") as served:
        visited = Visit(browser, served.address)
    visited.page.fill("#prompt", "Abc")
    visited.page.locator("#failure", has_text="start it again").wait_for()
    visited.context.close()


def test_the_page_draws_as_generate_py_does(page: Visit) -> None:
    """predictions.js against gpt.tasks.decoding.sampling: what each option leaves, and what is drawn of it."""
    torch.manual_seed(0)
    cases = []
    for options in [
        {},
        *({name: share} for name in SURVIVORS if name != "top_k" for share in (0.05, 0.4, 0.9)),
        {"temperature": 0.5, "top_k": 3},
        {"temperature": 1e30, "top_k": 3, "top_p": 0.6},
        {"temperature": 1.7, "top_k": 12, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.6, "repetition_penalty": 1.3},
        {"temperature": 0.0},
    ]:
        config = SamplingConfig(**options)
        x, uniform, ids = torch.randn(50, 20) * 3, torch.rand(50), torch.randint(20, (50, 9))
        logits = x if config.repetition_penalty is None else penalised(x, ids, config.repetition_penalty)
        chosen = choose(logits, uniform, config)
        kept = torch.nn.functional.one_hot(chosen, 20) > 0
        if config.temperature:
            p, order = shaped(logits, config)
            kept = torch.zeros_like(p).scatter(-1, order, p) > 0
        given = [x.tolist(), uniform.tolist(), ids.tolist(), config.sampling()]
        cases.append([given, [chosen.tolist(), kept.tolist()]])
    texts = [(["ab", "", "abc", "d"], stop) for stop in (None, "a", "ba", "bab", "abcd", "x", "dd")]
    found, written = page.page.evaluate(
        """async ([cases, texts]) => {
          const { choose, penalised, shaped, until } = await import("./predictions.js");
          async function* each(pieces) { yield* pieces; }
          const drawn = cases.map(([x, uniform, ids, sampling]) => [
            x.map((row, i) => choose(Float32Array.from(row), uniform[i], sampling, ids[i])),
            x.map((row, i) => Array.from(
              shaped(penalised(Float32Array.from(row), ids[i], sampling.repetition_penalty), sampling), (p) => p > 0)),
          ]);
          const written = texts.map(([pieces, stop]) => Array.fromAsync(until(stop, each(pieces))));
          return [drawn, await Promise.all(written)];
        }""",
        [[given for given, _ in cases], texts],
    )
    assert found == [expected for _, expected in cases]
    assert ["".join(pieces) for pieces in written] == ["".join(until(stop, pieces)) for pieces, stop in texts]
