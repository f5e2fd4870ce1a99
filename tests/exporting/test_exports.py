"""Exports as a user makes them, read back by the libraries that they are for."""

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from tests.extras import require_extra

require_extra("onnx")
require_extra("hub")
require_extra("transformers")

import torch
import transformers
from huggingface_hub import ModelCard
from tokenizers import Tokenizer

import gpt
from gpt.base.errors import RequestError, UserError
from gpt.base.ladder import LADDER, OTHERS
from gpt.data.corpora import tiny_shakespeare
from gpt.data.vocabulary import Vocabulary
from gpt.exporting import graphs
from gpt.exporting.command import export
from gpt.exporting.hub import PretrainedGPT, vocabulary_of
from gpt.exporting.model_card import body
from gpt.exporting.staging import staged
from gpt.exporting.verification import TOLERANCE, compare
from gpt.playground.describe import in_full
from gpt.runs.records import Parent
from gpt.session.trained import TrainedRun
from tests.conftest import REPOSITORY, Script, TrainedOnce, build_small, small_corpus, stage_config, succeeded


@pytest.fixture
def run(trained: Path) -> TrainedRun:
    return gpt.load(runs=trained / "runs", device="cpu")


def exported(called: Script, trained: Path, out: Path, *arguments: str) -> Path:
    done = called("export.py", *arguments, f"out={out}", cwd=trained)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"written: {out}"
    return out


@pytest.mark.parametrize("form", ["transformers", "onnx"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    form: str, called: Script, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of a full disk, a limit on the size of a file: libraries report both alike."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # or half of a module would be left for everybody
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        done = called("export.py", f"format={form}", f"out={tmp_path / 'out'}", cwd=trained)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_hubs_form_is_read_back_to_the_bit(run: TrainedRun, called: Script, trained: Path, tmp_path: Path) -> None:
    folder = exported(called, trained, tmp_path / "hub", "format=hub")
    names = {"README.md", "config.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in folder.iterdir()} == names
    model = PretrainedGPT.from_pretrained(folder)
    torch.testing.assert_close(dict(model.model.state_dict()), dict(run.model.state_dict()), atol=0, rtol=0)
    assert model.generate("Abc", tokens=30, seed=5) == run.generate("Abc", tokens=30, seed=5)
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "text-generation")
    for loss in (run.summary.estimated.train.nats, run.summary.exact.nats, run.summary.best.nats):
        assert f"{loss:.4f}" in card.text
    assert run.summary.stage in card.text
    assert (run.run.path / "sample.txt").read_text().splitlines()[0] in card.text


def test_v9_says_that_its_weights_contain_the_training_text(run: TrainedRun, trained_run: TrainedOnce) -> None:
    counting = gpt.load(trained_run("v9"), device="cpu")
    table = counting.model.ngrams.table_bytes()
    assert table == counting.model.ngrams._counts.nbytes > 10_000
    assert "weights contain the training text" in body(counting)
    assert f"a table of {table / 1e6:.1f} MB" in body(counting)
    assert in_full("v9", counting.run, counting.summary)["contains_text"]
    assert "training text" not in body(run)
    assert not in_full("v5", run.run, run.summary)["contains_text"]


def test_the_card_of_a_fork_names_no_path(run: TrainedRun, called: Script, corpus_file: Path, tmp_path: Path) -> None:
    done = called("train.py", f"init={run.run.path}", "training.max_iters=2", "training.eval_interval=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (exported(called, tmp_path, tmp_path / "hub", "format=hub") / "README.md").read_text()
    assert f"trained from the weights of another run ({run.summary.iterations} iterations)" in text
    (changed,) = [line for line in text.splitlines() if "Not the documented run of v7: " in line]
    assert "init," in changed or changed.endswith("init.")
    for path in (run.run.path, corpus_file, tmp_path):
        assert str(path) not in text


def test_a_card_describes_its_weights_its_loss_and_its_origin(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "every target of the validation split once" in body(run)
    assert not re.search(r"separator|split=|encoding|newlines|train.*fraction", body(run))  # which are the defaults
    monkeypatch.setattr(run, "which", "averaged")
    assert "are an average over the last evaluations" in body(run)
    settings = run.config.training.model_copy(update={"ema": 0.9})
    monkeypatch.setattr(run, "config", run.config.model_copy(update={"training": settings}))
    assert "are a moving average over all iterations" in body(run)
    exact = run.summary.exact
    parent = Parent(run=str(tmp_path), stage="v1", iterations=1, weights="best", sha256=64 * "0", corpus="another")
    sample = exact.model_copy(update={"over": exact.over.model_copy(update={"count": 80})})
    for change, said in (
        ({"exact": sample}, f"80 of {exact.over.of:,} targets of"),
        ({"parent": parent}, "from another run, trained on another text."),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(TrainedRun, "summary", run.summary.model_copy(update=change))
            assert said in body(run)


def test_a_hostile_or_damaged_export_is_refused(run: TrainedRun, tmp_path: Path) -> None:
    export(run, "hub", tmp_path, license="mit")
    config = json.loads((tmp_path / "config.json").read_text())

    def refused(word: str, **changes: object) -> None:
        (tmp_path / "config.json").write_text(json.dumps(config | {"model": config["model"] | changes}))
        with pytest.raises(UserError, match=word):
            PretrainedGPT.from_pretrained(tmp_path)

    for target in ("os.system", "gpt.training.optimizers.AdamW", "gpt.models.os.system"):
        refused(f"_target_={target}", _target_=target)
    refused(r"model\.safetensors", n_embd=2 * config["model"]["n_embd"])
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(r"model\.safetensors")
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {}, "merges": [[]]}}')
    refused(r"tokenizer\.json")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match=r"config\.json"):
        PretrainedGPT.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("stage", "loader", "vocabulary"),
    [
        ("v9", "shakespeare", {"kind": "characters", "vocabulary": "\t\n\r abcé\u2028日"}),
        (
            "transformer",
            "multi30k",
            {
                "kind": "sentence_subwords",
                "vocabulary": ["<pad>", "<s>", "</s>", "<unk>", "a", "b", "ab"],
                "merges": [("a", "b")],
            },
        ),
    ],
)
def test_any_stage_has_a_form_for_the_hub(stage: str, loader: str, vocabulary: dict, tmp_path: Path) -> None:
    """The mixin's own way, without a run: what config.json names is built again and gets the same weights."""
    choice = dict(stage_config(stage).model) | {"n_embd": 32, "n_head": 4, "n_layer": 2, "block_size": 8}
    own = Vocabulary(corpus="", **vocabulary)
    model = PretrainedGPT(stage, choice, f"gpt.data.corpora.{loader}", own.kind, own)
    model.save_pretrained(tmp_path)
    loaded = PretrainedGPT.from_pretrained(tmp_path)
    tokenizer = loaded.task.tokenizer
    assert (tokenizer.vocabulary, getattr(tokenizer, "merges", None)) == (own.vocabulary, own.merges)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), atol=0, rtol=0)


def test_graphs_compute_the_run_without_code_of_this_project(
    run: TrainedRun, called: Script, trained: Path, tmp_path: Path
) -> None:
    """The likeliest text, and each layer's attention."""
    folder = exported(called, trained, tmp_path / "a" / "b", "format=onnx")
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "with_attention.onnx", "tokenizer.json"}
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode("Abc").ids
    for _ in range(12):  # up to a full window, where the run begins to forget
        (logits,) = session.run(None, {"idx": [ids]})
        ids.append(int(logits[0, -1].argmax()))
    assert tokenizer.decode(ids) == "Abc" + run.generate("Abc", tokens=12, temperature=0.0)
    session = onnxruntime.InferenceSession(folder / "with_attention.onnx")
    assert [output.name for output in session.get_outputs()] == ["logits", "attention_0", "attention_1"]
    _, *weights = session.run(None, {"idx": run.task.tokenizer.encode("Abc de")[None].numpy()})
    for found, expected in zip(weights, run.attention("Abc de"), strict=True):
        torch.testing.assert_close(torch.from_numpy(found[0]), expected, atol=TOLERANCE, rtol=0)


GRAPHS = [(stage, {}) for stage in (*LADDER, *OTHERS) if stage != "v9"]


@pytest.mark.parametrize(("stage", "changes"), [*GRAPHS, ("v1", {"block_size": 1})])
def test_every_stage_without_counts_has_a_graph(stage: str, changes: dict[str, int], tmp_path: Path) -> None:
    model = build_small(stage, **changes)
    found = graphs.computed(model, ["logits"], model.block_size, tmp_path / "model.onnx")
    for T in {1, max(1, model.block_size - 1), model.block_size}:
        idx = torch.randint(65, (3, T))
        with torch.no_grad():
            torch.testing.assert_close(found(idx)[0], model(idx), atol=TOLERANCE, rtol=0)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.get_modelmeta().custom_metadata_map == {"block_size": str(model.block_size)}


def test_v7_is_a_gpt2(run: TrainedRun, called: Script, trained: Path, tmp_path: Path) -> None:
    folder = exported(called, trained, tmp_path / "gpt2", "format=transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "GPT2LMHeadModel"
    ids = tokenizer("Abc de\nfgh", return_tensors="pt").input_ids
    assert ids[0].tolist() == run.task.tokenizer.encode("Abc de\nfgh").tolist()
    assert tokenizer.decode(ids[0]) == "Abc de\nfgh"
    with torch.no_grad():
        expected, logits = run.model(ids), model(ids).logits
    torch.testing.assert_close(logits[..., :-1], expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(logits.logsumexp(dim=-1), expected.logsumexp(dim=-1), atol=TOLERANCE, rtol=0)
    greedy = model.generate(ids[:, :3], max_new_tokens=10, do_sample=False)
    assert tokenizer.decode(greedy[0]) == "Abc" + run.generate("Abc", tokens=10, temperature=0.0)
    (whole,) = transformers.pipeline("text-generation", str(folder))("Abc")  # ends where the positions do
    assert len(whole["generated_text"]) == tokenizer.model_max_length == 16
    assert tokenizer("Abc de\nfgh" * 3, truncation=True).input_ids == ids[0].tolist()[-6:] + ids[0].tolist()
    prompts = tokenizer(["Abc", "Abc de"], padding=True, return_tensors="pt")
    alone = [model.generate(ids[:, :length], max_new_tokens=4, do_sample=False)[0, -4:] for length in (3, 6)]
    assert torch.equal(model.generate(**prompts, max_new_tokens=4, do_sample=False)[:, -4:], torch.stack(alone))
    assert tokenizer.decode(tokenizer("A§c").input_ids, skip_special_tokens=True) == "Ac"


HARD = "Don't we'll naïve\r\n\n  東京 😀\t 1234 e\u0301 \ufeff \u0085x"


@pytest.mark.parametrize(("tokens", "n_embd"), [("bytes", 256), ("subwords", 304), ("words", 304)])
def test_other_tokens_are_the_same_in_every_format(tokens: str, n_embd: int, tmp_path: Path) -> None:
    """In a window as wide as the vocabulary is large, as GPT-2's form requires; the graphs' form has the hub's file."""
    (tmp_path / "input.txt").write_text(small_corpus()[:5000] + f"{HARD}\n" * 50)
    data = ["data=text", f"data.path={tmp_path / 'input.txt'}", f"data.tokenizer={tokens}"]
    data += ["data.vocab_size=300"] if tokens != "bytes" else []
    small = ["model.block_size=8", f"model.n_embd={n_embd}", "model.n_head=2", "model.n_layer=1", "device=cpu"]
    short = ["training.max_iters=2", "training.eval_iters=1", "training.batch_size=2"]
    run = gpt.train("model=v7", *small, *short, *data, folder=tmp_path / "run")
    card = body(run)
    assert "| documented" not in card  # which is per character
    assert "1.4873" not in card
    ids = run.tokenizer.encode(HARD)
    for form in ("hub", "transformers"):
        (tmp_path / form).mkdir()
        export(run, form, tmp_path / form, license="mit")  # type: ignore[arg-type]
        read = Tokenizer.from_file(str(tmp_path / form / "tokenizer.json"))
        assert read.encode(HARD).ids == ids.tolist(), form
        assert read.decode(ids.tolist()) == HARD
        vocabulary = vocabulary_of(tmp_path / form / "tokenizer.json", tokens)
        tokens_read = vocabulary.vocabulary[: len(run.tokenizer)]  # GPT-2 has one more, for unknown characters
        assert tokens_read == run.tokenizer.vocabulary
        assert (vocabulary.merges or []) == run.tokenizer.merges
    pretrained = PretrainedGPT.from_pretrained(tmp_path / "hub")
    assert pretrained.generate("ï", tokens=30, seed=5) == run.generate("ï", tokens=30, seed=5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "transformers")
    assert tokenizer(HARD).input_ids == ids.tolist()
    assert tokenizer.decode(ids) == HARD


@pytest.mark.parametrize(
    ("stage", "settings", "arguments", "word"),
    [
        ("v5", [], ["format=transformers"], "format=hub"),
        ("v6", ["model.n_embd=16"], ["format=transformers"], "bias"),
        ("v9", [], ["format=onnx"], "v8"),
        ("v5", [], ["format=pickle"], "format=pickle"),
        ("v5", [], ["out=/proc/version/x"], "/proc/version"),
        ("v5", [], ["out=/proc"], "out=FOLDER"),
        ("v5", [], ["out=/proc/nowhere"], "/proc"),
        ("v5", [], ["weights=averaged"], "averaged"),
    ],
)
def test_what_cannot_be_exported_says_why_in_one_line(
    stage: str,
    settings: list[str],
    arguments: list[str],
    word: str,
    trained_run: TrainedOnce,
    called: Script,
    tmp_path: Path,
) -> None:
    run = trained_run(stage, *settings)
    before = sorted(run.rglob("*"))
    refused = called("export.py", f"run={run}", *arguments, cwd=tmp_path)
    assert (refused.returncode in (1, 2), refused.stderr.count("\n")) == (True, 1), refused.stderr
    assert refused.stderr.startswith("error: ")
    assert word in refused.stderr
    assert (sorted(run.rglob("*")), list(tmp_path.iterdir())) == (before, [])


def test_an_export_that_is_not_the_run_leaves_nothing(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "computed", lambda module, *_: lambda idx: [module(idx) + 0.01])
    with pytest.raises(UserError, match=r"model\.onnx .*0\.0"):  # noqa: SIM117
        with staged(tmp_path / "a" / "new") as folder:
            export(run, "onnx", folder, license="mit")
    assert list(tmp_path.iterdir()) == []


def test_the_difference_that_counts_is_relative_to_the_largest_score() -> None:
    def compared(*sizes: float) -> str:
        run, graph = (lambda idx, own=own: [torch.full((*idx.shape, 2), own)] for own in sizes)
        return compare("model.onnx", run, graph, vocab_size=2, block_size=4)

    assert "equal within" in compared(50.0, 50.00012)
    with pytest.raises(UserError, match=r"0\.0001"):
        compared(0.5, 0.50012)


def test_a_missing_library_is_named_with_its_extra(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, extra in (("onnxruntime", "onnx"), ("huggingface_hub", "hub"), ("transformers", "transformers")):
        for module in [m for m in sys.modules if m.startswith("gpt.exporting.")]:
            monkeypatch.delitem(sys.modules, module)
        for module in ("graphs", "hub", "as_gpt2"):
            monkeypatch.delattr(f"gpt.exporting.{module}", raising=False)
        with monkeypatch.context() as without:
            without.setitem(sys.modules, name, None)
            with pytest.raises(RequestError, match=rf"\[{extra}\]"):
                export(run, extra, tmp_path, license="mit")  # type: ignore[arg-type]


def test_the_page_about_exports_runs_as_written(script: Script, tmp_path: Path) -> None:
    """On a small v7 of its own."""
    page = (REPOSITORY / "docs" / "exports.md").read_text()
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    small = ["model=v7", "model.block_size=32", "model.n_embd=96", "model.n_head=4", "model.n_layer=1", "device=cpu"]
    short = ["training.max_iters=4", "training.eval_iters=1", "training.batch_size=8", "hydra.run.dir=runs/v7"]
    (tmp_path / "input.txt").write_text(tiny_shakespeare()[:50_000])
    succeeded(script("train.py", *small, *short, "data=text", "data.path=input.txt", cwd=tmp_path))
    for line in commands.splitlines():
        python, name, *arguments = shlex.split(line, comments=True)
        assert python == "python"
        assert script(name, *arguments, cwd=tmp_path).returncode == 0
    for block, name in zip(blocks, ("hub", "onnx", "transformers"), strict=True):
        code = block.replace("FOLDER", f"runs/v7/{name}")
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", code]
        done = succeeded(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment))
        assert done.stdout
