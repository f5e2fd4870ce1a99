"""The benchmarks measure pair by pair, run end to end, and leave a peer's code as it is but for its constants."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import torch

from gpt.base.runtime import has_bfloat16, select_device
from gpt.cli.composing import composed
from gpt.tasks.decoding.packing import packed
from gpt.tasks.decoding.sampling import generate
from gpt.training.fused import has_nonfinite
from tests.conftest import REPOSITORY, Script, build, check_config
from tests.playground.browsing import chromium_path

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
from ablation import CHANGES, WHOLE
from gpu import Cells, Part, Setting, measure, report
from harness import WAITING, Measured, Row, alternate, arguments, output, with_constants
from private_kernels import unpacked, unrecorded, without
from same_losses import Losses

Benchmark = Callable[..., list[list[str]]]  # its arguments -> the cells of its table, row by row

# Peers with just enough of an interface for the benchmarks; each notes in calls.jsonl with what it was run.

NOTE = """
def note(**values):
    import json
    with open({calls!r}, "a") as file:
        file.write(json.dumps(values) + "\\n")
"""

LECTURE = """
batch_size = 64 # of the lecture
block_size = 256
max_iters = 5000
eval_interval = 500
learning_rate = 3e-4
eval_iters = 200
n_embd = 384
n_head = 6
n_layer = 6
dropout = 0.2
characters = len(open("input.txt").read())
note(script={name!r}, max_iters=max_iters, block_size=block_size, n_embd=n_embd, characters=characters)
"""

NANOGPT = {
    "train.py": """
import sys
from model import GPTConfig
options = dict(option.removeprefix("--").split("=") for option in sys.argv[2:])
note(script="train.py", config=sys.argv[1], prepared=open("data/shakespeare_char/train.bin").read(), **options)
for i in range(int(options["max_iters"])):
    print(f"iter {i}: loss 4.1, time {1000 / (i + 1):.2f}ms, mfu -100.00%")
""",
    "data/shakespeare_char/prepare.py": """
open("train.bin", "w").write(str(len(open("input.txt").read())))
""",
    "model.py": """
import torch
from dataclasses import dataclass
@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool
class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
    def generate(self, prompt, tokens):
        note(script="generate", batch=len(prompt), tokens=tokens, n_embd=self.config.n_embd)
        return prompt.repeat(1, tokens + 1)
""",
}

ANNOTATED = """
import does_not_exist
class Batch:
    def __init__(self, src, tgt, pad):
        self.src, self.src_mask, self.tgt, self.tgt_y = src, src != pad, tgt[:, :-1], tgt[:, 1:]
        self.tgt_mask, self.ntokens = self.tgt != pad, (self.tgt_y != pad).sum()
class Model(nn.Module):
    def __init__(self, vocab, d_model):
        super().__init__()
        self.embed, self.generator = nn.Embedding(vocab, d_model), nn.Linear(d_model, vocab)
    def forward(self, src, tgt, src_mask, tgt_mask):
        return self.embed(tgt) + self.embed(src).mean(1, keepdim=True)
def make_model(src_vocab, tgt_vocab, N, d_model, d_ff, h, dropout):
    note(vocab=src_vocab, layers=N, d_model=d_model, d_ff=d_ff, heads=h)
    return Model(src_vocab, d_model)
class LabelSmoothing(nn.Module):
    def __init__(self, size, padding_idx, smoothing):
        super().__init__()
        self.padding_idx, self.smoothing = padding_idx, smoothing
    def forward(self, x, target):
        return nn.functional.cross_entropy(x, target, ignore_index=self.padding_idx, label_smoothing=self.smoothing)
class SimpleLossCompute:
    def __init__(self, generator, criterion):
        self.generator, self.criterion = generator, criterion
    def __call__(self, x, y, norm):
        loss = self.criterion(log_softmax(self.generator(x), dim=-1).flatten(0, 1), y.flatten())
        return loss.data * norm, loss
raise RuntimeError("an example at the end of the page, which is not to be run")
"""

OTHER_CHECKOUT = """
import json, os, sys
from pathlib import Path
options = dict(option.split("=") for option in sys.argv[1:])
note(gpt_from=os.environ["PYTHONPATH"], **options)
run = Path(options["runs"]) / "run"
run.mkdir(parents=True)
(run / "metrics.jsonl").write_text(json.dumps({"iteration": 0, "train": 4.5, "val": 4.25}) + "\\n")
(run / "summary.json").write_text(json.dumps({"exact": {"val": 4.125}, "last_batch": 4.0}))
"""


class Peers:
    """Checkouts of the peers, and what they were run with."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._calls = folder, folder / "calls.jsonl"
        for name in ("gpt.py", "bigram.py"):
            self._write("lecture", name, LECTURE.replace("{name!r}", repr(name)))
        for name, code in NANOGPT.items():
            self._write("nanogpt", name, code)
        self._write("annotated", "the_annotated_transformer.py", ANNOTATED)
        self._write("other", "train.py", OTHER_CHECKOUT)

    def _write(self, checkout: str, name: str, code: str) -> None:
        path = self._folder / checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTE.replace("{calls!r}", repr(str(self._calls))) + code)

    def folder(self, checkout: str) -> str:
        return str(self._folder / checkout)

    def calls(self) -> list[dict]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture(scope="module")
def benchmark(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Run a benchmark quickly: benchmark("memory")."""
    folder = tmp_path_factory.mktemp("working")

    def run(name: str, *arguments: str) -> list[list[str]]:
        done = script(f"benchmarks/{name}.py", "--quick", *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert list(folder.iterdir()) == []  # runs and peers' changed scripts are in temporary folders
        lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]

    return run


@pytest.fixture(scope="module")
def translator(script: Script, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small translator's run."""
    folder = tmp_path_factory.mktemp("translator")
    done = script(
        "train.py", "experiment=reverse", "schedule.warmup_iters=0", "data.size=500", "training.max_iters=2",
        "training.eval_interval=2", "hydra.run.dir=run", "device=cpu", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(folder / "run")


@dataclass
class Everything:
    """The table of all.py, and what the peers were run with."""

    rows: list[list[str]]
    calls: list[dict]

    def of(self, *works: str) -> list[list[str]]:
        """The rows of works that begin so."""
        return [row for row in self.rows if row[0].startswith(works)]

    def calls_of(self, *scripts: str | None) -> list[dict]:
        return [call for call in self.calls if call.get("script") in scripts]


@pytest.fixture(scope="module")
def everything(benchmark: Benchmark, translator: str, tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """Once for all tests: it takes minutes."""
    peers = Peers(tmp_path_factory.mktemp("peers"))
    checkouts = [word for name in ("lecture", "nanogpt", "annotated") for word in (f"--{name}", peers.folder(name))]
    return Everything(benchmark("all", *checkouts, "--run", translator), peers.calls())


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine gets three times slower meanwhile; each pair still says: twice as fast.
    measured = Measured(ours=[1.0, 2.0, 3.0], theirs=[2.0, 4.0, 6.0])
    assert Row("work", "s", measured, "peer").cells() == [
        "work", "peer", "4.00 s (2.00 to 6.00)", "2.00 s (1.00 to 3.00)", "2.00 (2.00 to 2.00)",
    ]  # fmt: skip
    assert Row("work", "tokens/s", measured, "peer", more_is_better=True).cells()[-1] == "0.50 (0.50 to 0.50)"
    assert Row("work", "s", Measured([1.0], [])).cells() == ["work", "-", "-", "1.00 s (1.00 to 1.00)", "-"]


def test_sides_alternate_after_a_run_that_does_not_count() -> None:
    clock = count()
    measured = alternate(2, lambda: float(next(clock)), lambda: float(next(clock)))
    assert measured == Measured(theirs=[1.0, 3.0], ours=[2.0, 4.0])
    assert alternate(2, lambda: 1.0).theirs == []
    clock = count()  # nothing runs before a single pair
    measured = alternate(1, lambda: float(next(clock)), lambda: float(next(clock)))
    assert measured == Measured(theirs=[0.0], ours=[1.0])


def test_a_peers_constants_are_set_and_nothing_else(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text("import sys\nmax_iters = 10 # many\nrate = 1e-3\n  max_iters = 3\n")
    folder = tmp_path / "changed"
    folder.mkdir()
    changed = with_constants(script, {"max_iters": 7}, folder)
    assert changed.read_text() == "import sys\nmax_iters = 7\nrate = 1e-3\n  max_iters = 3\n"
    assert (folder / "input.txt").stat().st_size == 1_115_394
    with pytest.raises(SystemExit, match="has no constant n_embd"):
        with_constants(script, {"n_embd": 7}, folder)


def test_a_peer_that_is_missing_is_skipped_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--nanogpt", str(tmp_path), "--annotated", "/nowhere"])
    given = arguments("What it measures.", "nanogpt", "annotated", "run")
    assert (given.nanogpt, given.annotated, given.run) == (tmp_path, None, None)
    assert capsys.readouterr().err.splitlines() == [
        "--annotated /nowhere: a checkout of harvardnlp/annotated-transformer is missing, so its part is skipped",
        "--run is not given: the folder of a finished run is missing, so its part is skipped",
    ]


def test_the_command_line_chooses_repeats_and_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for line, expected in {
        "": (3, False, ["a", "b"]), "--repeats=5 b": (5, False, ["b"]), "--repeats=5 --quick": (1, True, ["a", "b"]),
    }.items():  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["benchmark", *line.split()])
        given = arguments("What it measures.", names=("a", "b"))
        assert (given.repeats, given.quick, given.names) == expected
    for line, refused in {"--repeats=0": "must be at least 1", "a c": "c is none of a, b"}.items():
        monkeypatch.setattr(sys, "argv", ["benchmark", *line.split()])
        with pytest.raises(SystemExit):
            arguments("What it measures.", names=("a", "b"))
        assert refused in capsys.readouterr().err


NAMES = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("*.py") if path.stem != "harness")


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_a_benchmark_measures_and_how_to_try_it(name: str, called: Script, tmp_path: Path) -> None:
    done = called(f"benchmarks/{name}.py", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout
    assert "--quick" in done.stdout
    assert "only to check that it works" in " ".join(done.stdout.split())


def test_threads_of_a_benchmark_wait_as_in_the_scripts() -> None:
    """OpenMP reads how when torch is imported, and `gpt` sets it."""
    for path in (REPOSITORY / "benchmarks").glob("*.py"):
        nodes = ast.parse(path.read_text()).body
        plain = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
        assert "torch" not in plain or plain[0] == "gpt", path.name


def test_a_peer_runs_with_the_users_environment_and_not_with_this_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = [sys.executable, "-c", f"import os; print([os.environ.get(name) for name in {list(WAITING)}])"]
    for name, value in WAITING.items():  # as importing gpt does
        monkeypatch.setenv(name, value)
    assert output(show, tmp_path).strip() == "[None, None]"
    assert output(show, tmp_path, settings=WAITING).strip() == str(list(WAITING.values()))
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")  # the user's own
    assert output(show, tmp_path).strip() == "[None, '7']"
    show = [
        sys.executable,
        "-c",
        "import os; print(os.environ['PYTHONPATH'])",
    ]  # a checkout comes before the user's own
    monkeypatch.setenv("PYTHONPATH", "packages")
    assert output(show, tmp_path, checkout=tmp_path).strip() == f"{tmp_path}{os.pathsep}packages"  # the checkout first


@pytest.mark.slow
def test_memory_is_measured(everything: Everything) -> None:
    ((work, peer, theirs, ours, ratio),) = everything.of("v5, documented run, peak memory")
    assert (work, peer) == ("v5, documented run, peak memory", "import torch and the corpus")
    assert 100 < float(theirs.split()[0].replace(",", "")) < float(ours.split()[0].replace(",", ""))
    assert 0 < float(ratio.split()[0]) < 1


@pytest.mark.slow
def test_corpus_size_runs(benchmark: Benchmark) -> None:
    shakespeare, small = benchmark("corpus_size", str(REPOSITORY / "docs" / "course"))
    assert shakespeare[:3] == ["tiny Shakespeare", "-", "-"]
    assert small[0] == "0.1 MB"
    for row in (shakespeare, small):
        assert 50 < float(row[4].removesuffix(" MB")) < 2000
        assert all(float(speed.replace(",", "")) > 0 for speed in row[5:7])


@pytest.mark.slow
def test_the_cost_of_architectures_is_measured_by_length_and_on_one_core_and_two(benchmark: Benchmark) -> None:
    rows = benchmark("architectures", "v6", "gru", "conv")
    heads, stages = [row for row in rows if row[0] == "stage"], [row for row in rows if row[0] != "stage"]
    assert heads == [["stage", "8", "16"]] * 2 + [["stage", "one core", "two cores", "times faster"]]
    assert [row[0] for row in stages] == ["v6", "gru", "conv"] * 4
    times, ratios = (
        [float(cell.replace(",", "")) for row in rows for cell in row[1:]] for rows in (stages[:6], stages[9:])
    )
    assert all(time > 0 for time in times)
    assert all(ratio >= 0 for ratio in ratios)  # 0.00 if something else took the second core


@pytest.mark.slow
def test_training_in_the_page_is_measured_against_train_py(benchmark: Benchmark) -> None:
    pytest.importorskip("playwright.sync_api")
    chromium_path()
    rows = benchmark("browser", "v1")
    assert [row[0] for row in rows if row[0].endswith("in the page")] == ["v1, 20 iterations in the page"]


@pytest.mark.slow
def test_where_time_goes_runs(benchmark: Benchmark) -> None:
    rows = {row[0]: float(row[1]) for row in benchmark("where_time_goes")}
    assert list(rows)[-1] == "the entire run, measured"
    parts = (
        "Python and configuration",
        "importing torch",
        "batches",
        "loss and gradient",
        "optimizer",
        "estimates",
        "exact loss",
    )
    assert all(rows[part] > 0 for part in parts)
    *operators, everything = benchmark("where_time_goes", "generation")
    shares = [float(row[-1].rstrip("%")) for row in operators]
    assert shares == sorted(shares, reverse=True)
    assert everything[0] == "all"


@pytest.mark.slow
def test_v7_is_trained_against_nanogpt_at_the_same_size(everything: Everything) -> None:
    (work, peer, theirs, ours, _), products = everything.of("v7 training", "v7's products")
    assert (work, peer) == ("v7 training", "nanoGPT train.py")
    assert "tokens/s" in ours
    assert products[:2] == ["v7's products", "one large product"]
    assert 0 <= float(products[-1].split()[0]) < 1  # the share of the peak
    (call,) = everything.calls_of("train.py")
    assert call["config"] == "config/train_shakespeare_char.py"
    assert call["prepared"] == "1115394"
    assert (call["n_embd"], call["block_size"], call["batch_size"]) == ("32", "16", "4")
    if not torch.cuda.is_available():
        assert (call["device"], call["compile"], call["max_iters"]) == ("cpu", "False", "5")
        assert theirs.startswith("256 tokens/s")  # 4 * 16 tokens in 250 ms, the median of 333, 250 and 200


@pytest.mark.slow
def test_text_is_generated_against_nanogpt(everything: Everything) -> None:
    rows = [row for row in everything.of("v7-size generation") if row[1] in ("nanoGPT generate", "reading the weights")]
    (record,) = everything.of("generation with")
    assert (record[0], record[1]) == ("generation with the CPU record's v9, 1 x 8 characters", "-")
    assert "characters/s" in record[3]
    has_it = has_bfloat16(select_device("auto"))
    dtypes = ["float32", *(["bfloat16"] if has_it else []), *([] if torch.cuda.is_available() else ["int8"])]
    if not torch.cuda.is_available():
        limits, rows = rows[len(dtypes) :], rows[: len(dtypes)]
        assert [row[0] for row in limits] == [
            f"v7-size generation, 1 x 8 characters, {x}, of the limit" for x in dtypes
        ]
        assert all(row[1] == "reading the weights" and float(row[4].split()[0]) > 0 for row in limits)
    assert [row[0] for row in rows] == [f"v7-size generation, 1 x 8 characters, {x}; peer float32" for x in dtypes]
    assert all(row[1] == "nanoGPT generate" and "characters/s" in row[2] and "characters/s" in row[3] for row in rows)
    call = {"script": "generate", "batch": 1, "tokens": 8, "n_embd": 384}
    assert everything.calls_of("generate") == [call] * 2 * len(rows)


@pytest.mark.slow
def test_what_is_wanted_of_a_gpu_is_measured_once(script: Script, tmp_path: Path) -> None:
    parts = [
        "speedrun_1", "v7_1", "determinism_v9", "v6_compiled", "generation_64x64_bfloat16", "recorded_float32",
        "compiled_v8",
    ]  # fmt: skip

    def measured() -> list[list[str]]:
        done = script("benchmarks/gpu.py", "--quick", "--out=kept", *parts, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == (tmp_path / "kept" / "report.md").read_text()
        assert "failed:" not in done.stderr
        return [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("| ")]

    rows = [[cell.strip() for cell in row] for row in measured()]
    assert [row[0].partition(";")[0] for row in rows] == [
        "seed", "1", "seed", "1", "settings", "model=v6 compile=true",
        "work", "v7-size generation, 1 x 8 characters, bfloat16",
        "v7-size generation, 1 x 8 characters, float32, recorded",
        "check", "v9, deterministic=true, the same seed twice", "v9, deterministic=true, resumed half-way",
        "v8, compile=true",
    ]  # fmt: skip
    assert {row[1] for row in rows[10:12]} == {"11 losses and the weights are equal, to the last bit"}
    files = [tmp_path / "kept" / f"{part}.json" for part in parts]
    written = [file.stat().st_mtime_ns for file in files]
    measured()
    assert [file.stat().st_mtime_ns for file in files] == written


def test_a_part_that_fails_is_measured_again_by_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def fails(_: Setting) -> Cells:
        if not (tmp_path / "mended").exists():
            raise SystemExit("on this machine")
        return [["fails", "no more"]]

    parts = {"fails": Part("checks", fails), "works": Part("checks", lambda _: [["works", "yes"]])}
    setting = Setting(tmp_path, None, repeats=1, quick=True)
    measure(parts, setting)
    assert capsys.readouterr().err.splitlines() == ["fails", "fails failed: on this machine", "works"]
    assert report(parts, tmp_path).endswith("| works   | yes      |\n\nnot done: fails\n")
    (tmp_path / "mended").touch()
    measure(parts, setting)
    assert capsys.readouterr().err.splitlines() == ["fails"]
    assert "not done" not in report(parts, tmp_path)


@pytest.mark.slow
def test_small_stages_are_trained_against_the_lecture(everything: Everything) -> None:
    assert [(row[0].split(",")[0], row[1]) for row in everything.rows[:8]] == [
        ("v6", "lecture gpt.py"), ("v6", "lecture gpt.py"), ("v1", "lecture bigram.py"),
        ("v2", "-"), ("v3", "-"), ("v3_ffn", "-"), ("v4", "-"), ("v5", "-"),
    ]  # fmt: skip
    gpt = {"script": "gpt.py", "max_iters": 4, "block_size": 8, "n_embd": 32, "characters": 1_115_394}
    bigram = gpt | {"script": "bigram.py", "n_embd": 384}  # which v1 has no use for
    assert everything.calls_of("gpt.py", "bigram.py") == [gpt, gpt, bigram]
    ((work, peer, theirs, ours, _),) = everything.of("eight seeds")
    assert (work, peer) == ("eight seeds of v3 as a sweep", "one after the other")
    assert theirs.split()[1] == ours.split()[1] == "s"


@pytest.mark.slow
def test_translators_are_trained_against_both_peers(everything: Everything) -> None:
    rows = everything.of("transformer", "beam 5")
    assert [row[:2] for row in rows] == [
        ["transformer training", "nn.Transformer, plain loop"],
        ["transformer training", "annotated Transformer"],
        ["beam 5, 8 test sentences", "the same without caches"],
        ["transformer, two processes", "one process"],
    ]
    (call,) = everything.calls_of(None)
    assert call == {"vocab": 4000, "layers": 3, "d_model": 128, "d_ff": 256, "heads": 4}


@pytest.mark.slow
def test_private_kernels_are_each_measured(everything: Everything) -> None:
    names = [
        "v6 step, torch._fused_adamw_", "v6 step, torch._amp_foreach_non_finite_check_and_unscale_",
        "v1 step, recorded", "v6 step, compiled, aggressive_recomputation",
        "v8 step, bfloat16, attention as products",
        "v7-size generation, 1 x 8 characters, float32, packed",
        "v7-size generation, 1 x 8 characters, bfloat16, packed",
        "v7-size generation, 1 x 8 characters, float32, recorded",
        "v7-size generation, 1 x 8 characters, bfloat16, recorded",
        "v7-size generation, 1 x 8 characters, int8, recorded",
    ]  # fmt: skip
    if torch.cuda.is_available():
        names = names[:2]
    elif not has_bfloat16(torch.device("cpu")):
        names = [name for name in names if "bfloat16" not in name]
    rows = everything.rows[-len(names) :]
    assert [row[0] for row in rows] == names
    assert all("(" in row[4] for row in rows)


def test_without_a_private_function_the_public_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "_amp_foreach_non_finite_check_and_unscale_"
    calls: list = []
    monkeypatch.setattr(torch, name, lambda *arguments: calls.append(arguments))
    tensors = [torch.tensor([1.0, float("nan")])]
    has_nonfinite(tensors)
    assert len(calls) == 1
    with without("gpt.training.fused", name):
        assert has_nonfinite(tensors) == 1
    assert len(calls) == 1
    has_nonfinite(tensors)
    assert len(calls) == 2


def test_unpacked_leaves_linear_layers_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.tasks.decoding.packing._is_intel", lambda: False)

    def linear_layers() -> int:
        model = packed(build("v7", n_layer=2), torch.float32)
        return sum(isinstance(module, torch.nn.Linear) for module in model.modules())

    packed_layers = linear_layers()
    with unpacked():
        assert linear_layers() > 0
    assert linear_layers() == packed_layers == 0


def test_unrecorded_runs_the_stages_own_code_for_every_token() -> None:
    model, passes = build("v7", n_layer=1), []
    model.register_forward_hook(lambda *_: passes.append(1))
    with unrecorded():
        assert len(list(generate(model, torch.tensor([0]), tokens=201, seed=1))) == 201
    assert len(passes) == 201


def test_losses_are_equal_only_if_every_bit_is() -> None:
    here = Losses({"val at iteration 0": 0.1 + 0.2, "exact": 1.0})
    assert here.first_difference(Losses({"val at iteration 0": 0.1 + 0.2, "exact": 1.0})) == ""
    changed = Losses({"val at iteration 0": 0.3, "exact": 1.0})
    assert here.first_difference(changed) == "val at iteration 0: 0.30000000000000004 here, 0.3 there"
    fewer = Losses({"val at iteration 0": 0.1 + 0.2})
    assert here.first_difference(fewer) == "exact: 1.0 here, None there"
    assert fewer.first_difference(here) == "exact: None here, 1.0 there"


def same_losses(script: Script, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return script("benchmarks/same_losses.py", "--quick", "--only", "v1", *arguments, cwd=folder)


@pytest.mark.slow
def test_a_checkout_has_the_same_losses_as_itself(script: Script, tmp_path: Path) -> None:
    done = same_losses(script, tmp_path, "--", str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| v1")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["v1", "8", "equal"]


@pytest.mark.slow
def test_a_checkout_with_other_losses_is_told_and_ends_with_1(script: Script, tmp_path: Path) -> None:
    peers = Peers(tmp_path / "peers")
    done = same_losses(script, tmp_path, "--", peers.folder("other"))
    assert done.returncode == 1
    assert "train at iteration 0: " in done.stdout
    assert " here, 4.5 there" in done.stdout
    (call,) = peers.calls()
    assert call["gpt_from"].split(os.pathsep)[0] == peers.folder("other")
    assert (call["model"], call["seed"], call["device"], call["training.max_iters"]) == ("v1", "7", "cpu", "2")


def test_neither_a_checkout_nor_a_commit_is_refused(called: Script, tmp_path: Path) -> None:
    done = same_losses(called, tmp_path, "--", "nowhere")
    assert done.returncode == 1
    assert "nowhere is neither a checkout nor a commit" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_records_are_trained_in_turn_and_drawn(script: Script, tmp_path: Path) -> None:
    done = script("benchmarks/records.py", "--quick", "--out", "kept", "04_counts", "08_two_tokens", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines() if "| 0" in line
    ]
    assert [row[0] for row in rows] == ["04_counts", "08_two_tokens"]
    assert [row[2] == "-" for row in rows] == [True, False]  # the ratio to the one before
    for counted, waited, megabytes in ((float(row[1]), float(row[5]), float(row[7])) for row in rows):
        assert 0 < counted < waited
        assert megabytes > 100  # most of it the table of the counts
    each = (tmp_path / "kept" / "records.csv").read_text().splitlines()
    assert each[0] == (REPOSITORY / "docs" / "lab" / "records.csv").read_text().splitlines()[0]
    assert [line.split(",")[:2] for line in each[1:]] == [["04_counts", "1"], ["08_two_tokens", "1"]]
    assert (tmp_path / "kept" / "counts.png").stat().st_size > 0
    assert not (tmp_path / "kept" / "network.png").exists()
    summary = tmp_path / "kept" / "08_two_tokens_seed1" / "summary.json"
    kept = summary.read_text()
    # What is there is not trained again, an unfinished run goes on, and the table has all of it.
    (tmp_path / "kept" / "04_counts_seed1" / "summary.json").unlink()
    done = script("benchmarks/records.py", "--quick", "--out", "kept", "04_counts", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[-2:]] == ["04_counts", "08_two_tokens"]
    assert summary.read_text() == kept


def test_the_settings_of_the_leaderboard_lead_from_record_to_record() -> None:
    """The page has the settings of the records without a file; those up to a file's record give its configuration."""
    page = (REPOSITORY / "docs" / "lab" / "records.md").read_text()
    base, settings, reached = "", [], []
    for name, row in re.findall(r"^\| \[?(\d\d_\w+)\]?(.*)$", page, re.MULTILINE):
        changed = re.search(r"`(\S+=[^`]+)`", row)
        if changed is None:
            base, settings = name, []
            continue
        settings += changed[1].split()
        config, _ = composed("train", [f"experiment=records/{base}", *settings])
        if (REPOSITORY / "conf" / "experiment" / "records" / f"{name}.yaml").exists():
            assert config == composed("train", [f"experiment=records/{name}"])[0]
            reached.append(name)
    assert reached == ["12_shuffled", "13_hybrid", "08_two_tokens"]


@pytest.mark.parametrize("stage", CHANGES)
def test_a_stage_with_one_thing_changed_is_a_valid_configuration(stage: str) -> None:
    whole, _ = composed("train", [WHOLE[stage]])
    for changes in CHANGES[stage].values():
        changed, _ = composed("train", [WHOLE[stage], *changes])
        assert changed["target"] == whole["target"]  # it composes at all
        assert changed != whole
        assert (changed["schedule"] == whole["schedule"]) == ("schedule=constant" not in changes)
        check_config(changed | {"stage": stage})


@pytest.mark.slow
def test_what_is_changed_is_said_line_by_line(script: Script, tmp_path: Path) -> None:
    done = script("benchmarks/ablation.py", "--quick", "without_rotary", "without_counts", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [line[1].strip() for line in lines] == ["", "without rotary", "", "without counts"]


@pytest.mark.parametrize("benchmark", ["records", "ablation"])
def test_an_unknown_record_or_idea_is_refused(called: Script, tmp_path: Path, benchmark: str) -> None:
    done = called(f"benchmarks/{benchmark}.py", "nonsense", cwd=tmp_path)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr
