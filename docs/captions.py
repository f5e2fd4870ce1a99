"""What the captions of the course's pictures and the notes of its live stages state, computed from the site's runs.

    python docs/captions.py

prints it. Another processor rounds differently, so that its runs have slightly other numbers: the site states its own.
"""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE.parent), str(_HERE), str(_HERE / "_ext")]  # gpt, pictures and the extensions, as in conf.py

from course_runs import corpus, train_stale  # noqa: E402
from pictures.architectures import numbers, table  # noqa: E402
from pictures.attention import LETTERS, WINDOW, active_shares  # noqa: E402
from pictures.depth import deviations, mean_stream_gradients  # noqa: E402
from pictures.embeddings import characters, share_of_two_directions  # noqa: E402
from pictures.probabilities import LINE, PROMPT, logits, trusted  # noqa: E402
from pictures.recalling import LINE_WITHOUT, answers, circuit, unasked  # noqa: E402
from pictures.sequences import reversing  # noqa: E402

from gpt.base.command_schemas import BeamConfig  # noqa: E402
from gpt.base.ladder import SMALL  # noqa: E402
from gpt.data.corpus import PairCorpus  # noqa: E402
from gpt.inspection.parts import parts  # noqa: E402
from gpt.models import block_size_of, v4_blocks, v5_residual  # noqa: E402
from gpt.models.ablations import v4  # noqa: E402
from gpt.playground import looking  # noqa: E402
from gpt.runs.weights import leading_to  # noqa: E402
from gpt.session.trained import TrainedRun, load_run  # noqa: E402
from gpt.tasks import Translation  # noqa: E402

_LINE = "ROMEO:\nBut, soft! what light through yonder window breaks?\n"  # that the page begins with
_NEARLY_ALWAYS = 0.9  # share of the positions
# What can differ from one machine to another: numbers, and characters.
_VARIES = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?|`[^`]*`|\b(?:two|three|four|five|six|seven|eight|nine|ten)\b")


def main() -> None:
    """Print the statements, one a line, each after the name of its picture."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for picture, phrases in statements(train_stale(_HERE / "_generated" / "runs")).items():
        for phrase in phrases:
            print(f"{picture}: {phrase}")


def restated(caption: str, phrases: Sequence[str]) -> str:
    """A caption with these phrases in place of those that differ from them only in numbers or characters.

    Another caption of the same picture may state less.
    """
    taken: list[tuple[int, int, str]] = []
    for phrase in phrases:
        words = [re.escape(part).replace(r"\ ", r"\s+") for part in _VARIES.split(phrase)]
        places = (match.span() for match in re.finditer(f"(?:{_VARIES.pattern})".join(words), caption))
        free = (place for place in places if all(place[1] <= start or end <= place[0] for start, end, _ in taken))
        taken += [(*place, phrase) for place in [*free][:1]]
    for start, end, phrase in sorted(taken, reverse=True):
        caption = caption[:start] + phrase + caption[end:]
    return caption


def statements(runs: Mapping[str, TrainedRun]) -> dict[str, list[str]]:
    """The phrases that the caption of each picture must have, by the name of the picture."""
    return {
        "losses": _losses(runs),
        "embedding-map": _embedding_map(runs["v6"]),
        "schedules": _schedules(runs),
        "bigram-table": [f"with {_percent(runs['v1'].next_token('q')['u'])}"],
        "temperature": _temperature(runs["v6"]),
        "truncation": _truncation(runs["v6"]),
        "one-head": _one_head(runs["v2"]),
        "four-heads": _four_heads(runs["v3"]),
        "units": _units(runs["v3_ffn"]),
        "gradient-depth": _gradient_depth(),
        "residual": _residual(),
        "layer-norm": _layer_norm(runs["v6"]),
        "dropout": _dropout(runs),
        "trust": _trust(runs["v9"]),
        "cross-attention": _cross_attention(runs["reverse"]),
        "induction": _induction(runs["recall"]),
        **of_architectures(),
        "live-recall": _live_recall(runs["recall"]),
        "live-recall-gru_recall": _live_pair(runs["recall"], runs["gru_recall"]),
        "live-reverse": _live_reverse(runs["reverse"]),
        "live-v2": ["with {}, and itself with {}".format(*_reads(runs["v2"], 0, 7, 6, 7))],
        "live-v3": _live_v3(runs["v3"]),
        "live-v5": _live_v5(runs["v5"]),
        "live-v6": _live_v6(runs["v5"], runs["v6"]),
        "live-v7": _live_v7(runs["v7"]),
    }


def _percent(share: Tensor | float) -> str:
    return f"{100 * float(share):.0f}%"


def _range(shares: Tensor, word: str = "to") -> str:
    return f"{_percent(shares.min())} {word} {_percent(shares.max())}"


def _losses(runs: Mapping[str, TrainedRun]) -> list[str]:
    first = [runs[stage].run.evaluations()[0].val.nats for stage in SMALL]
    return [f"between {min(first):.2f} and {max(first):.2f}"]


def _embedding_map(run: TrainedRun) -> list[str]:
    vocabulary, points = characters()
    distances = torch.cdist(points, points).fill_diagonal_(math.inf)
    nearest = {c: vocabulary[int(i)] for c, i in zip(vocabulary, distances.argmin(dim=1), strict=True)}
    return [
        f"that of `o` is `{nearest['o']}`, that of `T` is `{nearest['T']}`, and that of `a` is `{nearest['a']}`",
        f"would keep {_percent(share_of_two_directions(run))}",
    ]


def _schedules(runs: Mapping[str, TrainedRun]) -> list[str]:
    val = {name: [m.val.nats for m in runs[name].run.evaluations()] for name in runs}
    return [
        f"{val['v6'][-1]:.2f} with 0.001, {val['v6_high'][-1]:.2f} with 0.01",
        f"{val['v6_decay'][-1]:.2f} with a cosine, and {val['v6_warmup'][-1]:.2f} with a warm-up as well",
        f"at iteration 200, when it is {val['v6_warmup'][1]:.2f} with the warm-up and {val['v6_decay'][1]:.2f} without",
    ]


def _temperature(run: TrainedRun) -> list[str]:
    likeliest = [_percent((t * logits(run, PROMPT)).softmax(-1).max()) for t in (0.5, 1.0, 2.0, 5.0)]
    return ["{}, {}, {} and {}".format(*likeliest)]


def _truncation(run: TrainedRun) -> list[str]:
    p = logits(run, PROMPT).softmax(-1).sort(descending=True).values
    kept = int((p.cumsum(0) - p < 0.9).sum())
    windows = run.tokenizer.encode(corpus().val)[:40_000].view(-1, block_size_of(run.model))
    with torch.no_grad():
        p_all = run.model(windows)[:, -1].softmax(-1).sort(descending=True).values  # (N, V)
    rare = p_all < 0.01
    return [
        f"the likeliest five, {_percent(p[:5].sum())} of the probability",
        f"the likeliest {_word(kept)}",
        f"{rare.sum(-1).float().mean():.0f} of the 65 characters have less than 1% each, and together "
        f"{_percent((p_all * rare).sum(-1).mean())}",
        f"outside the likeliest five have {_percent(1 - p_all[:, :5].sum(-1).mean())}",
    ]


def _word(n: int) -> str:
    return ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[n]


def _one_head(run: TrainedRun) -> list[str]:
    ((head,),) = run.attention(WINDOW)
    n, g = len(WINDOW) - 2, len(WINDOW) - 1
    own = head.diagonal()
    return [_range(own[:-1]), f"itself {_percent(own[g])} and the `n` before it {_percent(head[g, n])}"]


def _four_heads(run: TrainedRun) -> list[str]:
    (heads,) = run.attention(WINDOW)
    t, h, n = 0, 1, len(WINDOW) - 2
    return [
        f"({_range(heads[2].diagonal())})",
        f"itself {_percent(heads[0, h, h])} and the `t` before it {_percent(heads[0, h, t])}",
        f"with {_percent(heads[1, n, n - 1])}",
    ]


def _units(run: TrainedRun) -> list[str]:
    shares = active_shares(run)  # (characters, units)
    newline, space, letters = shares[0], shares[1], shares[2:]
    always = (letters > _NEARLY_ALWAYS).sum(dim=0) >= 24
    is_vowel = torch.tensor([letter in "aeiou" for letter in LETTERS[2:]])
    # The unit that tells vowels and consonants apart most clearly.
    gap = letters[~is_vowel].amin(dim=0) - letters[is_vowel].amax(dim=0)
    unit = int(gap.argmax())
    return [
        f"{int(always.sum())} of the units",
        f"{int((space[always] > _NEARLY_ALWAYS).sum())} of them after a space",
        f"{int((newline[always] > _NEARLY_ALWAYS).sum())} after a new line",
        f"column {unit + 1}",
        f"{_percent(letters[is_vowel, unit].max())} after any vowel",
        f"{_percent(letters[~is_vowel, unit].min())} after every consonant",
    ]


def _gradient_depth() -> list[str]:
    depths = (1, 2, 3, 4, 6, 8, 12, 16)
    without = [mean_stream_gradients(v4_blocks.GPT, n)[1][0] for n in depths]
    factors = [
        (shallow / deep) ** (1 / (m - n))
        for (n, shallow), (m, deep) in pairwise(zip(depths, without, strict=True))
    ]  # fmt: skip
    shallow, deep = (mean_stream_gradients(v5_residual.GPT, n)[1][0] for n in (1, 16))
    scaled = [mean_stream_gradients(v4.WithScaledInit, n)[1][0] for n in depths]
    return [
        f"by {min(factors):.1f} to {max(factors):.1f}",
        f"between {min(scaled):.2f} and {max(scaled):.2f}",
        f"grows by a factor of {deep / shallow:.0f}",
    ]


def _residual() -> list[str]:
    phrases = []
    for stage in (v4_blocks.GPT, v5_residual.GPT):
        activations, gradients = mean_stream_gradients(stage, 12)
        phrases.append(f"from {activations[0]:.2f} to {activations[-1]:.2f}")
        phrases.append(f"from {gradients[-1]:.2g} to {gradients[0]:.2g}".replace("e-0", "e-"))
    activations, _ = mean_stream_gradients(v4.WithResiduals, 12)
    return [*phrases, f"from {activations[0]:.2f} to {activations[-1]:.0f}"]


def _layer_norm(run: TrainedRun) -> list[str]:
    before, after = ([x.median().item() for x in seen] for seen in deviations(run))
    return [
        f"{before[0]:.2f} before the first branch, "
        f"{before[2]:.2f} before the third and {before[-1]:.2f} before the output",
        f"{min(after[:-1]):.2f} to {max(after[:-1]):.2f} before the branches and {after[-1]:.2f} before the output",
    ]


def _dropout(runs: Mapping[str, TrainedRun]) -> list[str]:
    phrases = []
    for name in ("without_dropout", "with_dropout"):
        metrics = runs[name].run.evaluations()
        best, last = min(metrics, key=lambda m: m.val.nats), metrics[-1]
        phrases.append(f"lowest at iteration {best.iteration}, {best.val.nats:.2f}")
        phrases.append(f"{last.train.nats:.2f} in training and {last.val.nats:.2f} in validation")
    return phrases


def _trust(run: TrainedRun) -> list[str]:
    weights = trusted(run)  # (orders, characters)
    longest = int((weights.argmax(dim=0) == len(weights) - 1).sum())
    newline = weights[:, LINE.index("\n")]
    return [
        f"at {longest} of the {len(LINE)} characters",
        f"{newline[1]:.2f} for two characters and {newline[-1]:.2f} for six",
    ]


def _cross_attention(run: TrainedRun) -> list[str]:
    weights, source, written = reversing(run)
    letters = torch.tensor([[weights[i, source.index(letter)]] for i, letter in enumerate(written[:-1])])
    g = written.index("g")
    return [_range(letters), f"the `g` also {_percent(weights[g, source.index('h')])} to `h`"]


def _induction(run: TrainedRun) -> list[str]:
    whole = circuit(run)
    first, second = (_percent(circuit(run, off=f"blocks.{layer}.attention.0").right) for layer in (0, 1))
    return [
        f"in {_percent(whole.before)} of 500 lines it has not seen",
        f"in {_percent(whole.answer)} of them to the digit",
        f"answers {_percent(whole.right)} of them right",
        f"{first} with the head of layer 1 turned off, and {second} with that of layer 2",
    ]


def of_architectures() -> dict[str, list[str]]:
    """Those that state what the tables of docs/lab/architectures.md have, and no run of the site."""
    columns, pauses = table("right, by the length of the pause:")
    found = {name: _percent(float(cells[columns.index("64")])) for name, cells in pauses.items()}
    columns, steps = table("the memory of a step, on one core.")
    longer = numbers(columns[-1])[0] / numbers(columns[0])[0]
    slower = {name: numbers(cells[-1])[0] / numbers(cells[0])[0] for name, cells in steps.items()}
    _, parts = table("how large the noise is.")
    worse = sorted(numbers(cells[2])[0] for name, cells in parts.items() if name != "v6")
    _, equal = table("**Equal parameters.**")
    recurrent = [[numbers(cell)[0] for cell in equal[name]] for name in ("rnn", "gru", "lstm", "min_gru")]
    ahead = [numbers(v6)[0] - max(others) for v6, *others in zip(equal["v6"], *recurrent, strict=True)]
    return {
        "remembering": [
            f"v8 finds {found['v8']} of the digits after a pause of 64", f"v6 {found['v6']} and the GRU {found['gru']}",
        ],
        "cost": [
            f"{longer:.0f} times as long, a step of v6 takes {slower['v6']:,.0f} times as long, and one of `gru` "
            f"{slower['gru']:.0f}",
        ],
        "parts": [
            f"attention itself is worth {worse[-1]:.2f}, three parts {worse[3]:.2f} to {worse[-2]:.2f}",
            f"the other three {worse[0]:.3f} to {worse[2]:.3f}",
        ],
        "equal-parameters": [
            "at least {:.2f}, {:.2f} and {:.2f} ahead".format(*(math.floor(100 * gap) / 100 for gap in ahead)),
        ],
    }  # fmt: skip


def _live_pair(attention: TrainedRun, state: TrainedRun) -> list[str]:
    (right, _), (found, told) = answers(attention), answers(state)
    return [
        f"v6 answers {_percent(right)} of 500 lines right, the GRU {_percent(found)}",
        f"{_percent(told)} of its answers",
    ]


def _live_recall(run: TrainedRun) -> list[str]:
    found = [(iteration, circuit(moment)) for iteration, moment in _moments(run)]
    before = max(iteration for iteration, at in found if at.right < 0.5)
    after = next((iteration, at) for iteration, at in found if min(at) > 0.9)
    return [
        f"at iteration {before}, it answers {_percent(dict(found)[before].right)} of 500 lines right",
        f"at iteration {after[0]}, both heads are there, and it answers {_percent(after[1].right)}",
        f"with {100 * max(run.next_token(LINE_WITHOUT).values()):.1f}%",
        f"with {_percent(run.attention(LINE_WITHOUT)[1][0, -1].max())} at the 7",
        f"absent letter, {_percent((unasked(run) > 0.9).float().mean())} are answered with more than 90%",
        f"is {_percent(unasked(run, 'blocks.1.attention.0').mean())} on average",
    ]


def _live_v3(run: TrainedRun) -> list[str]:
    largest = [
        [shares.amax(dim=-1).mean() for shares in moment.attention(WINDOW)[0]]
        for _, moment in (_moments(run)[0], _moments(run)[-1])
    ]
    even = (1 / torch.arange(1, len(WINDOW) + 1)).mean()
    return [
        f"is {_range(torch.stack(largest[0]))} at iteration 0",
        f"would have {_percent(even)}",
        "they have {}, {}, {} and {}".format(*map(_percent, largest[1])),
        *(f"with {_reads(run, head, *at)[0]}" for head, at in enumerate([(2, 1), (6, 5)])),
    ]


def _reads(run: TrainedRun, head: int, row: int, *columns: int) -> list[str]:
    """How much a character of the window reads of others."""
    return [_percent(run.attention(WINDOW)[0][head, row, column]) for column in columns]


def _live_v5(run: TrainedRun) -> list[str]:
    guesses = _guessed_after(run, " breaks?")
    first = next(i for i, layers in guesses.items() if layers[-1] == "\n")
    ids = run.tokenizer.encode(_LINE)
    plus = [part for part in parts(run.model) if "plus." in part]
    logits = [looking.logits(run, ids.tolist(), off) for off in ([], plus[:1], plus)]
    losses = [cross_entropy(x[:-1], ids[1:]).item() for x in logits]
    return [
        f"After {first} iterations", f"from iteration {_always(guesses, 1)} on",
        "rises from {:.2f} to {:.2f} nats, and".format(*losses), f"to {losses[2]:.2f}: the network",
    ]  # fmt: skip


def _live_v6(v5: TrainedRun, v6: TrainedRun) -> list[str]:
    return [f"from iteration {_always(_guessed_after(run, ' breaks?'), 1)} on" for run in (v6, v5)]


def _live_v7(run: TrainedRun) -> list[str]:
    return [f"{run.summary.parameters:,} parameters and an exact loss of {run.summary.exact.nats:.2f}"]


def _live_reverse(run: TrainedRun) -> list[str]:
    assert isinstance(run.task, Translation)
    corpus = run.corpus({})
    assert isinstance(corpus, PairCorpus)
    pairs = corpus.val[:500]
    written = run.task.translate(run.model, [source for source, _ in pairs], BeamConfig(beam=5, length_penalty=1.0))
    wrong = [target.split() for text, (_, target) in zip(written, pairs, strict=True) if text != target]
    twice = sum(len(set(letters)) < len(letters) for letters in wrong)
    return [
        f"reverses {len(pairs) - len(wrong)} of {len(pairs)} rows that it has not seen",
        f"Of the other {len(wrong)}, {twice} have a letter twice",
    ]


def _always(guesses: Mapping[int, list[str]], layer: int) -> int:
    """The moment from which on the prediction of a layer is the new line."""
    return next(i for i in guesses if all(layers[layer] == "\n" for j, layers in guesses.items() if j >= i))


def _guessed_after(run: TrainedRun, text: str) -> dict[int, list[str]]:
    """What each layer would predict after a text, a whole window, at each moment of the training."""
    found = {}
    for iteration, moment in _moments(run):
        ids = moment.tokenizer.encode(text).tolist()
        values = looking.inside(moment, ids, len(ids) - 1)
        layers = [values[f"lens.blocks.{i}.feed_forward"].argmax() for i in range(3)]
        found[iteration] = [moment.tokenizer.decode(best[None]) for best in layers]
    return found


def _moments(run: TrainedRun) -> list[tuple[int, TrainedRun]]:
    """The run at each of its snapshots, and with the weights that the page shows, as its slider does."""
    kept = leading_to(run.run, run.which)
    return [(iteration, load_run(run.run.path, weights=weights, device="cpu")) for iteration, weights in kept.items()]


if __name__ == "__main__":
    main()
