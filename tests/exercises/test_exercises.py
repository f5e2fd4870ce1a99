"""The exercises: every right way passes, and each of the usual mistakes gets its message."""

import re
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exercises import Report, check
from exercises.checks import EXERCISES
from exercises.checks.attempts import attempt
from exercises.checks.judging import judge
from exercises.checks.steps import Part, follow, readings, result
from gpt.config.command_schemas import SamplingConfig
from gpt.models import v2_attention_head, v3_attention_heads, v4_blocks, v5_residual, v6_pre_norm
from gpt.tasks.decoding.sampling import choose
from tests.conftest import REPOSITORY

PARTS = {f"{name}-{part.name}": (name, part) for name, exercise in EXERCISES.items() for part in exercise.parts}


def blank(name: str) -> str:
    return (REPOSITORY / "exercises" / f"{name}.py").read_text()


def solved(name: str, unfinished: str = "", filled: int = 0) -> str:
    """An exercise's file, with the deepest hint of a step for each blank; of an unfinished part, the `filled` first."""
    parts = {part.name: part for part in EXERCISES[name].parts}
    sections = re.split(r"^(?=class |def )", blank(name), flags=re.MULTILINE)
    for i, section in enumerate(sections):
        part = parts.get(section.partition("(")[0].partition(" ")[2])
        if part is not None and (filled or part.name != unfinished):
            code = iter(step.hints[-1] for step in part.steps)
            sections[i] = re.sub(
                r"^( *)(?:\w+ = |return )?BLANK\b.*",
                lambda found, code=code: textwrap.indent(next(code), found[1]),
                section,
                count=filled if part.name == unfinished else 0,
                flags=re.MULTILINE,
            )
    return "".join(sections)


def changed(source: str, *changes: tuple[str, str]) -> str:
    """With other code in some places, each of which must be there."""
    for before, after in changes:
        assert before in source, before
        source = source.replace(before, after)
    return source


def module_of(source: str, folder: Path) -> ModuleType:
    path, module = folder / "attempt.py", ModuleType("attempt")
    path.write_text(source)  # where the checks read it
    exec(compile(source, path, "exec"), vars(module))
    return module


def answer(name: str, part: str, folder: Path, *changes: tuple[str, str]) -> Any:
    """A part of an exercise's solution, with other code in some places."""
    return getattr(module_of(changed(solved(name), *changes), folder), part)


def checked(name: str, source: str, folder: Path) -> Report:
    module = module_of(source, folder)
    return check(name, *(getattr(module, part.name) for part in EXERCISES[name].parts))


@pytest.mark.parametrize("name", EXERCISES)
def test_the_deepest_hints_solve_an_exercise(name: str, tmp_path: Path) -> None:
    report = checked(name, solved(name), tmp_path)
    assert (report.state, report.hint(1)) == ("right", "Nothing is missing."), report


SHIFT = "shifted = x - x.amax(dim=-1, keepdim=True)"
SCORES = "scores = q @ k.transpose(-2, -1) / D**0.5"
MASK = """future = torch.ones(T, T, dtype=torch.bool).triu(diagonal=1)
        masked = scores.masked_fill(future, float("-inf"))"""
SOFTMAX = "weights = masked.softmax(dim=-1)"
KEEP = "keep = torch.rand_like(x) >= self.p"
BUILT_IN = ("return weights @ v", "return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)")
# Other right ways than that of the hints: exercise, changes of the solution.
RIGHT = {
    "a mask of zeros and ones": ("v2", (MASK, 'masked = scores.masked_fill(torch.tril(torch.ones(T, T)) == 0, -1e9)')),
    "the division in the softmax": ("v2", (" / D**0.5", ""), (SOFTMAX, "weights = (masked / D**0.5).softmax(dim=-1)")),
    "weights that are masked, then divided by their sum": (
        "v2", (MASK, "masked = scores"),
        (SOFTMAX, "w = masked.softmax(-1).tril()\n        weights = w / w.sum(-1, keepdim=True)"),
    ),
    "PyTorch's attention": ("v2", (SCORES, ""), (MASK, ""), (SOFTMAX, ""), BUILT_IN),
    "blanks that are left, beside a result that is right": (
        "v2", (SCORES, "scores = BLANK"), (MASK, "masked = BLANK"), (SOFTMAX, "weights = BLANK"), BUILT_IN,
    ),
    "layers with other names, and a mask in a buffer": (
        "v2", ("self.query", "self.w1"), ("self.key", "self.w0"), ("self.value = ", 'self.register_buffer("seen", '
               "torch.ones(32, 32).tril().bool())\n        self.w2 = "), ("self.value(x)", "self.w2(x)"),
        (MASK, 'masked = scores.masked_fill(~self.seen[:T, :T], float("-inf"))'),
    ),
    "heads in a list": (
        "v3", ("self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)",
               "self.heads = nn.ModuleList(v2_attention_head.Head(n_embd, n_embd // n_head) for _ in range(n_head))"),
        ("qkv = self.qkv(x)", "return torch.cat([head(x) for head in self.heads], dim=-1)"),
        ("from gpt.models.v2_attention_head import", "from gpt.models import v2_attention_head\n"
         "from gpt.models.v2_attention_head import"),
    ),
    "a feed-forward layer in one": (
        "v4", ("self.linear = nn.Linear(n_embd, n_embd)",
               "self.net = nn.Sequential(nn.Linear(n_embd, n_embd), nn.ReLU())"),
        ("hidden = self.linear(x)", "return self.net(x)"),
    ),
    "a closure": (
        "training", ("loss.backward()", "loss.backward()\n    optimizer.step(lambda: loss)\n    return loss.item()"),
    ),
    "a mask from bernoulli": ("v7", (KEEP, "keep = torch.bernoulli(torch.full_like(x, 1 - self.p))")),
    "zero_grad at the end": (
        "training", ("optimizer.zero_grad()\n    loss.backward()", "loss.backward()"),
        ("optimizer.step()", "optimizer.step()\n    optimizer.zero_grad()"),
    ),
    "group_norm, which rounds in another way": (
        "v6", ("return normalised * self.weight", "y = nn.functional.group_norm(x.flatten(0, 1), 1, eps=self.eps)\n"
               "        return y.view_as(x) * self.weight"),
    ),
    "a softmax by logsumexp": ("softmax", (SHIFT, "return (x - x.logsumexp(-1, keepdim=True)).exp()")),
    "the largest logit first": ("sampling", ("logits / temp", "(logits - logits.amax(-1, keepdim=True)) / temp")),
    "layers called by functional_call": (
        "v5", ("x + self.attention(x)",
               "x + torch.func.functional_call(self.attention, dict(self.attention.named_parameters()), (x,))"),
    ),
    "autograd in place of the hand": (
        "backward", ("return d_q, d_k, d_v",
                     "q, k, v = (x.clone().requires_grad_() for x in (q, k, v))\n"
                     "    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)\n"
                     "    return torch.autograd.grad(y, (q, k, v), d_output)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", RIGHT)
def test_every_right_way_passes(way: str, tmp_path: Path) -> None:
    name, *changes = RIGHT[way]
    report = checked(name, changed(solved(name), *changes), tmp_path)
    assert report.is_right, report


LOSS = "cross_entropy(model(idx).flatten(0, 1), targets.flatten())"
QUERY = "self.query = nn.Linear(n_embd, head_size, bias=False)"
STEP = "optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()"
# Wrong solutions as learners write them: exercise, part, changes of the solution, and how the mistake is named.
WRONG = [
    ("v1", "loss", [("p[ids[:-1], ids[1:]]", "p[ids[1:], ids[:-1]]"), ("picked.log().mean()", "picked.log().sum()")],
     "from the transposed table: the first token is the row; the losses are added up"),
    ("softmax", "softmax", [("return exponentials", "return exponentials.detach()"),
                            ("exponentials.sum", "exponentials.detach().sum")], "no gradient gets through"),
    ("softmax", "softmax", [("amax(dim=-1, keepdim=True)", "amax(dim=0)")],
     "each column's largest score is subtracted"),
    ("softmax", "cross_entropy", [("return -picked.log().mean()", "return -(p * p.log()).sum(-1).mean()")],
     "this is the entropy, how uncertain the rows are"),
    ("v1", "loss", [("return -picked.log().mean()", "return -(p * p.log()).sum(1).mean()")],
     "this is the mean entropy of the table's rows"),
    ("v4", "FeedForward", [("hidden = self.linear(x)", "hidden = self.linear(x.relu())"), (".relu()\n", "\n")],
     "this is linear(relu(x)): the ReLU belongs after"),
    ("v2", "Head", [(" / D**0.5", ""), (".triu(diagonal=1)", ".tril(diagonal=-1)"), ("dim=-1", "dim=-2")],
     "not divided by sqrt(D); the mask is transposed: row 3 sees column 5, which is the future, and not column 1; the "
     "softmax is over the wrong dimension"),
    ("v2", "Head", [("scores = q @ k.t", "scores = q @ k.detach().t")], "no gradient reaches key.weight"),
    ("v2", "Head", [(QUERY, QUERY.replace(", bias=False", ""))], "query has a bias"),
    ("v2", "Head", [("return weights @ v", "return nn.functional.dropout(weights) @ v")], "a second call"),
    ("v2", "Head", [(MASK, "masked = scores + torch.ones(T, T).triu(1) * -torch.inf")], "0 * -inf is NaN"),
    ("v2", "Head", [("return weights @ v", "return (weights if self.training else weights / 2) @ v")],
     "in evaluation mode"),
    ("v3", "MultiHeadAttention", [("permute(2, 0, 3, 1, 4)", "permute(2, 0, 1, 3, 4)"),
                                  ("torch.ones(T, T, dtype", "torch.ones(H, H, dtype"),
                                  ("read.transpose(1, 2).reshape(B, T, C)", "read.reshape(B, T, C)")],
     "T and H are not exchanged, so that the heads of one position attend to each other"),
    ("v4", "FeedForward", [("nn.Linear(n_embd, n_embd)", "nn.Linear(n_embd, 4 * n_embd)")],
     "must have one linear layer"),
    ("v4", "Block", [("self.attention = MultiHeadAttention(n_embd, n_head)", "")], "keep the layers self.attention"),
    ("v5", "Block", [("attended = x + self.attention(x)", "attended = x\n        attended += self.attention(x)")],
     "all right, but x itself is changed"),
    ("v5", "Block", [("attended = x + ", "attended = x.detach() + ")], "the gradient of x is not right"),
    ("v6", "LayerNorm", [("mean(dim=-1", "mean(dim=0"), ("x.var(dim=-1", "x.var(dim=0")],
     "the mean is not right: in window 0, position 0 reads position 0 of window 1"),
    ("v6", "LayerNorm", [("self.weight = ", "self.gain = self.")], "AttributeError"),
    ("v6", "LayerNorm", [("torch.ones(n_embd)", "torch.zeros(n_embd)")], "self.weight that begins with ones"),
    ("v6", "Block", [("x + self.attention(self.attention_norm(x))", "self.attention_norm(x + self.attention(x))"),
                     ("attended + self.feed_forward(self.feed_forward_norm(attended))",
                      "self.feed_forward_norm(attended + self.feed_forward(attended))")],
     "v6 normalises what the attention reads; the feed-forward layer's norm comes after the sum"),
    ("v7", "Dropout", [("if not self.training:\n            return x", "")], "dropout is on at evaluation"),
    ("v7", "Dropout", [(KEEP, f"torch.manual_seed(0)\n        {KEEP}")], "each call drops the same"),
    ("v7", "Dropout", [("return x * keep", "return x.detach() * keep")], "no gradient gets through"),
    ("v7", "Dropout", [("(1 - self.p)", "keep.float().mean()")], "another scale in each call"),
    ("sampling", "nucleus", [("torch.zeros_like(kept).scatter(-1, order, kept)", "kept.gather(-1, order)")],
     "the cut is right; gather(order) ranks once more"),
    ("training", "training_step", [("loss.backward()", "")], "backward() is missing"),
    ("training", "training_step", [(LOSS, "cross_entropy(model(idx)[:, -1], targets[:, -1])")],
     "the last position only"),
    ("training", "training_step", [(STEP, "optimizer.step()\n    optimizer.zero_grad()\n    loss.backward()")],
     "step() comes before backward(), so it takes the gradient of the step before"),
    ("training", "training_step", [("optimizer.step()", "nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
                                                        "    optimizer.step()")], "as by clipping"),
    ("training", "training_step", [("    loss = ", "    model.eval()\n    loss = "),
                                   ("optimizer.zero_grad()", "model.train()\n    optimizer.zero_grad()")],
     "computed in evaluation mode"),
    ("v1", "count_pairs", [("torch.zeros(vocab_size, vocab_size)",
                            "torch.zeros(vocab_size, vocab_size, dtype=torch.uint8)")], "it is 43, and must be 299"),
    ("v1", "loss", [("picked.log().mean()", "picked.log().median()")], "the loss is not right: it is 1.204, and must"),
    ("v1", "loss", [("log().mean()", "log().mean().round(decimals=3)")], "must be 1.1669: nearly right"),
    ("softmax", "softmax", [(SHIFT, "shifted = x / 100")], "the softmax of 0.01 times the right scores"),
    ("softmax", "cross_entropy", [("picked.log()", "picked.clamp(min=1e-12).log()")], "not for a target of"),
    ("v2", "Head", [(MASK, "masked = scores.clone()\n        masked[0].masked_fill_(torch.ones(T, T).triu(1) > 0, "
                           "-torch.inf)")], "the mask is used in the first window only"),
    ("v2", "Head", [("future = torch.ones", "future = (torch.ones(T, T).tril(-4) > 0) | torch.ones")],
     "the mask is not right: in window 0, position 4 does not read position 0"),
    ("v2", "Head", [(MASK, "self.seen = getattr(self, 'seen', torch.ones(T, T).tril() > 0)\n"
                           "        masked = scores.masked_fill(~self.seen, -torch.inf)")], "must match the size"),
    ("v2", "Head", [(SCORES, f"{SCORES}\n        scores = scores.clamp(-10, 10)")], "but not for large scores"),
    ("v2", "Head", [("return weights @ v", "return (weights @ v).double()")], "the next layer cannot read it"),
    ("v2", "Head", [("return weights @ v", "return weights @ v.mean(0, keepdim=True)")], "position 0 of window 1"),
    ("v3", "MultiHeadAttention", [("D**0.5", "H**0.5")], "divided by sqrt(H)"),
    ("v3", "MultiHeadAttention", [("return read.transpose(1, 2).reshape(B, T, C)",
                                   "return read.mean(1).repeat(1, 1, H)")], "the mean of the heads is repeated"),
    ("v4", "FeedForward", [("hidden.relu()", "hidden.clamp(0, 100)")], "the ReLU is not right: at"),
    ("v7", "Dropout", [(KEEP, "keep = torch.rand(x.numel()).argsort().view_as(x) >= round(self.p * x.numel())")],
     "the same number of elements is dropped"),
    ("v7", "Dropout", [("x * keep / (1 - self.p)", "x * (1 + torch.randn_like(x) * (self.p / (1 - self.p))**0.5)")],
     "as in Gaussian dropout"),
    ("v7", "Dropout", [(KEEP, "keep = (torch.rand_like(x[..., ::2]) >= self.p).repeat_interleave(2, -1)")],
     "some elements are dropped together"),
    ("v7", "Dropout", [(KEEP, "keep = torch.rand_like(x[..., :1]) >= self.p")], "for all channels of a position"),
    ("v7", "Dropout", [(KEEP, f"{KEEP} * x.abs() / x.abs().mean()")], "depends on its value"),
    ("v7", "Dropout", [("            return x", "            return x * 0.999")], "the result at evaluation"),
    ("sampling", "probabilities", [("/ temperature", "/ max(temperature, 0.3)")], "the temperature is not right"),
    ("training", "training_step", [(LOSS, LOSS.replace("())", "(), ignore_index=0)"))], "targets 0 are left out"),
    ("training", "training_step", [(LOSS, LOSS.replace("())", "(), label_smoothing=0.1)"))], "targets are smoothed"),
    ("training", "training_step", [("    loss = ", "    optimizer = type(optimizer)(model.parameters(), lr=0.1)\n"
                                                   "    loss = ")], "an optimizer made anew"),
    ("training", "training_step", [("optimizer.step()", "optimizer.step()\n    optimizer.state.clear()")], "is lost"),
    ("training", "training_step", [(LOSS, f"{LOSS} ** 1.5")], "the gradient of the first step: "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part", "changes", "said"), WRONG, ids=[f"{w[0]}-{i}" for i, w in enumerate(WRONG)])
def test_a_wrong_solution_is_named(
    name: str, part: str, changes: list[tuple[str, str]], said: str, tmp_path: Path
) -> None:
    report = check(name, answer(name, part, tmp_path, *changes))
    assert report.state == "not right yet"
    assert said in str(report)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("softmax", SHIFT, "shifted = 2 * x"),
        ("v4", "return hidden.relu()", "return hidden"),
        ("v6", "mean = x.mean(dim=-1, keepdim=True)", "mean = 0"),
        ("v6", "return normalised *", "return BLANK *"),
    ],
)
def test_a_wrong_part_fails_no_part_that_uses_it(name: str, before: str, after: str, tmp_path: Path) -> None:
    first, second = checked(name, changed(solved(name), (before, after)), tmp_path).verdicts
    assert (first.is_right, second.is_right) == (False, True), second.message


HIDDEN = {
    "the softmax is missing: logits are not probabilities",  # their logarithms, and so the loss, are NaN
    "the attention is not used",  # which is the same as that the feed-forward layer reads x
    # All of the result is NaN.
    "0 * -inf is NaN, so a triangle of 0 and 1 cannot be multiplied by -inf: use masked_fill",
}


@pytest.mark.parametrize("place", PARTS)
def test_a_mistake_in_a_step_is_told_as_that_mistake(place: str, tmp_path: Path) -> None:
    """All of them, computed as the exercise knows them: none looks like another, or like the right way."""
    name, part = PARTS[place]
    given = answer(name, part.name, tmp_path)
    ways, last = [step.right for step in part.steps], part.steps[-1].name
    for i, step in enumerate(part.steps):
        for mistake, way in step.wrong.items():
            mistaken = [*ways[:i], way, *ways[i + 1 :]]
            observe = lambda _, s, mistaken=mistaken: getattr(follow(part.steps, mistaken, readings(s)[0]), last)  # noqa: E731
            verdict = judge(replace(part, observe=observe), given)
            assert mistake in verdict.message or mistake in HIDDEN


def test_what_is_called_right_is_what_the_stage_computes(tmp_path: Path) -> None:
    for place, stage in {
        "v2-Head": v2_attention_head.Head(15, 7),
        "v3-MultiHeadAttention": v3_attention_heads.MultiHeadAttention(21, 3),
        "v4-Block": v4_blocks.Block(8, 2),
        "v5-Block": v5_residual.Block(8, 2),
        "v6-LayerNorm": nn.LayerNorm(8),
        "v6-Block": v6_pre_norm.Block(8, 2),
    }.items():
        name, part = PARTS[place]
        given = attempt(part, answer(name, part.name, tmp_path)).given
        stage.load_state_dict(dict(zip(stage.state_dict(), given.module.state_dict().values(), strict=True)))
        torch.testing.assert_close(right(part, given), stage(given.x))


def right(part: Part, given: SimpleNamespace) -> Tensor:
    return result(part, readings(given)[0])[part.steps[-1].name]


def test_the_right_answer_about_top_p_is_what_generate_draws() -> None:
    _, part = PARTS["sampling-nucleus"]
    given = part.cases[0](None)
    p = right(part, given)
    uniform = torch.linspace(0, 1, 2001)[:-1]
    for row, wanted in zip(given.p, p, strict=True):
        drawn = choose(row.log().expand(len(uniform), -1), uniform, SamplingConfig(top_p=0.6))
        torch.testing.assert_close(drawn.bincount(minlength=5) / len(uniform), wanted, atol=1e-3, rtol=0)


def test_what_is_called_right_of_the_gradient_is_autograd_s() -> None:
    _, part = PARTS["backward-attention_backward"]
    given = part.cases[0](None)
    q, k, v = (x.requires_grad_() for x in (given.q, given.k, given.v))
    y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(right(part, given), torch.autograd.grad(y, (q, k, v), given.d_output))


# Attempts that are wrong, not finished, or do not run, and all that the learner is told of them.
TOLD = [
    ("v2", "Head", [(".triu(diagonal=1)", ".tril(diagonal=-1)")],
     "the scores are right; the mask is transposed: row 3 sees column 5, which is the future, and not column 1; the "
     "rest is right"),
    ("v2", "Head", [(SCORES, "scores = BLANK"), (MASK, "masked = BLANK"), (SOFTMAX, "weights = BLANK"),
                    ("return weights @ v", "return BLANK")], "lines 27, 28, 29, 30 still to fill in"),
    ("v2", "Head", [(MASK, "masked = scores + torch.full((T, T), -1e9).triu(1)"), (SOFTMAX, "weights = BLANK"),
                    ("return weights @ v", "return BLANK")],
     "the scores are right; the mask is right; lines 29, 30 still to fill in"),
    ("v3", "MultiHeadAttention", [(".permute(2, 0, 3, 1, 4)", "")],
     "the division into heads is not right: the shape is (2, 6, 3, 3, 7), and must be (3, B, H, T, D) = (3, 2, 3, 6, "
     "7)"),
    ("v2", "Head", [(" / D**0.5", ""), (MASK, "masked = BLANK"), (SOFTMAX, "weights = BLANK"),
                    ("return weights @ v", "return BLANK")],
     "the scores are not divided by sqrt(D); lines 28, 29, 30 still to fill in"),
    ("v2", "Head", [(".transpose(-2, -1)", "")],
     "line 27, `scores = q @ k / D**0.5`: RuntimeError: Expected size for first two dimensions of batch2 tensor to be: "
     "[2, 7] but got: [2, 6].; there, q is (2, 6, 7), k is (2, 6, 7)"),
    ("v2", "Head", [("return weights @ v", "weights @ v")],
     "the scores are right; the mask is right; the softmax is right; it returns None: does it end with `return`?"),
    ("v2", "Head", [("weights @ v", "(weights @ v).mT")],
     "the scores are right; the mask is right; the softmax is right; the result is not right: the shape is (2, 7, 6), "
     "and must be (B, T, D) = (2, 6, 7)"),
    ("v2", "Head", [("weights @ v", "weights @ v / 0 * 0")],
     "the scores are right; the mask is right; the softmax is right; the result is not right: at [0, 0, 0] it is nan "
     "(from 0/0, 0 * inf, or the softmax of a row that is -inf throughout), and must be -0.4209"),
    ("v2", "Head", [(SCORES, "scores = 3 * q @ k.mT")],
     "the scores are not right: all of it is 7.937 times what it must be: a factor is missing, or one too many"),
    ("backward", "attention_backward", [("return d_q, d_k, d_v", "return d_q, d_k")],
     "the gradient of v is right; the gradient of the weights is right; the gradient of the softmax is right; the "
     "gradient of q is right; the gradient of k is right; the order is not right: there must be 3 values: d_q, d_k, "
     "d_v"),
    ("v7", "Dropout", [("x * keep / (1 - self.p)", "(x * keep)[0] / (1 - self.p)")],
     "it must return a tensor of the shape of x, (12, 20, 40), not (20, 40)"),
    ("training", "training_step", [("    return loss.item()", "")],
     "it must return the loss as a number, not NoneType"),
    ("v1", "count_pairs", [("return counts", "return counts.tolist()")],
     "the counts are not right: it is list, and must be a tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part", "changes", "said"), TOLD, ids=[f"{t[0]}-{i}" for i, t in enumerate(TOLD)])
def test_an_attempt_is_told_how_far_it_gets(
    name: str, part: str, changes: list[tuple[str, str]], said: str, tmp_path: Path
) -> None:
    report = check(name, answer(name, part, tmp_path, *changes))
    assert str(report) == f"{part}: {said}"
    is_unfinished = any("BLANK" in after for _, after in changes)
    assert report.state == ("blanks left" if is_unfinished else "not right yet")


def test_the_page_about_the_exercises_quotes_what_learners_are_told() -> None:
    page = (REPOSITORY / "docs" / "course" / "exercises.md").read_text()
    quoted = [
        line
        for text in re.findall(r"^```none\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        for line in text.splitlines()
    ]
    told = {f"{part}: {said}" for _, part, _, said in TOLD}
    assert len(quoted) == 2
    assert set(quoted) <= told
    assert set(re.findall(r"^\| \[(\w+)\]\(\.\./\.\./exercises/", page, re.MULTILINE)) == EXERCISES.keys()
    assert all((REPOSITORY / "docs" / "course" / f"{exercise.page}.md").is_file() for exercise in EXERCISES.values())


@pytest.mark.parametrize("place", PARTS)
def test_hints_are_for_the_next_blank(place: str, tmp_path: Path) -> None:
    name, part = PARTS[place]
    for filled, step in enumerate(part.steps):
        report = check(name, getattr(module_of(solved(name, part.name, filled), tmp_path), part.name))
        if filled and report.is_right:
            break
        assert report.state == "blanks left"
        assert report.hints() == (f"{part.name}, {step.name}", step.hints)
