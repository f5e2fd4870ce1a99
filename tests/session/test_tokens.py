"""Runs on one text with different tokens: sampled, streamed, measured, resumed, forked, and compared by character."""

import hashlib
import json
import math
from pathlib import Path

import pytest

import gpt
from gpt.base.errors import RequestError
from gpt.data import corpora, download
from gpt.reports.ranking import rankings
from gpt.reports.tables import runs_csv, table
from gpt.runs.finding import FinishedRun
from gpt.session.trained import TrainedRun
from tests.conftest import Script, small_corpus, succeeded
from tests.extras import require_extra

pytestmark = pytest.mark.slow

KINDS = ["characters", "bytes", "subwords"]
CONTENT = small_corpus().replace("a", "é").replace("b", "€")
SHORT = ["training.max_iters=20", "training.eval_interval=10", "training.eval_iters=2", "device=cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a text and a run of v5 for each kind of tokens."""
    require_extra("subwords")
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "text.txt").write_text(CONTENT)
    data = ["data=text", f"data.path={folder / 'text.txt'}", "data.vocab_size=300"]
    for kind in KINDS:
        gpt.train("model=v5", *data, f"data.tokenizer={kind}", *SHORT, folder=folder / "runs" / kind)
    return folder


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, folder: Path) -> TrainedRun:
    return gpt.load(folder / "runs" / request.param)


def test_a_run_reads_and_writes_in_its_own_tokens(run: TrainedRun) -> None:
    assert run.run.tokenizer.shown == run.tokenizer.shown
    written = run.generate("Cé", tokens=50)
    assert written.encode()  # valid Unicode
    assert math.fsum(run.next_token("Cé").values()) == pytest.approx(1, abs=1e-4)


def test_the_loss_of_a_text_is_per_token_or_character(run: TrainedRun) -> None:
    text = CONTENT[-500:]
    tokens = run.tokenizer.encode(text)
    losses = run.losses(text)
    assert [token for token, _ in losses] == [run.tokenizer.shown[i] for i in tokens[1:]]
    mean = math.fsum(loss for _, loss in losses) / len(losses)
    assert run.loss(text) == pytest.approx(mean, abs=1e-6)
    characters = len(text) - run.tokenizer.sizes[tokens[0], 0].item()
    assert run.loss_of(text).per("character") == pytest.approx(mean * len(losses) / characters, abs=1e-6)


def test_the_exact_loss_is_per_character_or_byte(run: TrainedRun) -> None:
    exact, held_out = run.summary.exact, CONTENT[int(0.9 * len(CONTENT)) :]
    first = run.tokenizer.encode(held_out)[:1]
    characters, utf8 = run.tokenizer.sizes[first].sum(dim=0).tolist()
    over = exact.over
    assert over.characters == len(held_out) - characters
    assert over.bytes == len(held_out.encode()) - utf8
    assert exact.bits_per("byte") == pytest.approx(exact.nats * over.count / over.bytes / math.log(2))
    last = gpt.load(run.folder, weights="last")
    assert last.loss_of(held_out).per("character") == pytest.approx(exact.per("character"), abs=1e-5)


def test_runs_with_other_tokens_are_ranked_by_character(folder: Path) -> None:
    found = [FinishedRun(run.run, run.summary) for run in (gpt.load(folder / "runs" / kind) for kind in KINDS)]
    (ranking,) = rankings(found, "exact")
    losses = [run.summary.exact.common for run in found]
    assert [group.mean for group in ranking.groups] == sorted(losses)
    shown = table(ranking, "exact", "simple")
    assert "Nats per character" in shown
    assert "bits per byte" in shown
    assert "tokenizer" in shown
    assert "bits_per_byte" in runs_csv([ranking])
    assert len(rankings(found, "val")) == 3  # estimates are per token, and those of other tokens are not comparable


def test_a_text_is_written_as_valid_unicode(called: Script, run: TrainedRun, tmp_path: Path) -> None:
    text = called("generate.py", f"run={run.folder}", "prompt=Cé", "tokens=200", "temperature=3", cwd=tmp_path)
    assert text.returncode == 0, text.stderr
    assert text.stdout.startswith("Cé")


def test_only_bytes_measure_a_file_that_is_not_text(called: Script, run: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_bytes(b"caf\xe9 or not \xe2\x82\xac\n" * 20)
    done = called("evaluate.py", f"run={run.folder}", "text=other.txt", "json=true", cwd=tmp_path)
    if run.tokenizer.unit == "byte":
        found = json.loads(done.stdout)
        assert (found["scored"], found["left_out"]) == (16 * 20 - 1, 0)
        assert found["bits_per_byte"] == pytest.approx(found["nats_per_byte"] / math.log(2))
    else:
        assert done.returncode != 0
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: other.txt ")
        assert "line 1" in last


def test_a_fork_keeps_the_tokens(folder: Path) -> None:
    parent = folder / "runs" / "subwords"
    fork = gpt.train(f"init={parent}", "data=text", f"data.path={folder / 'text.txt'}", *SHORT)
    assert fork.tokenizer.vocabulary == gpt.load(parent).tokenizer.vocabulary
    assert fork.config.data.hyperparameters["tokenizer"] == "subwords"
    with pytest.raises(RequestError, match=r"data\.tokenizer=subwords"):
        gpt.train(f"init={parent}", "data.tokenizer=bytes", *SHORT)


def test_a_benchmark_is_measured_on_its_own_splits_in_bits(
    called: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """enwik8, cut off after 2,000 bytes."""
    content = CONTENT.encode()[:2000]
    (tmp_path / "enwik8").write_bytes(content)
    monkeypatch.setitem(download._MAHONEY_MD5, "enwik8", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(corpora, "_MAHONEY_ENDS", (1801, 1900, 2000))
    monkeypatch.setenv("GPT_DATA_DIR", str(tmp_path))
    run = gpt.train("model=v1", "data=enwik8", *SHORT, folder=tmp_path / "run")
    assert (run.summary.exact.over.count, run.summary.exact.bits_per("byte")) == (
        98,
        pytest.approx(run.summary.exact.nats / math.log(2)),
    )
    log = (tmp_path / "run" / "train.log").read_text()
    assert " to test on; a vocabulary of 256 bytes" in log
    assert f"{run.summary.exact.bits_per('byte'):.4f} bits per byte" in log
    done = succeeded(called("evaluate.py", "run=run", "split=test", "json=true", cwd=tmp_path))
    found = json.loads(done.stdout)
    assert (found["measured"], found["scored"]) == ("test split", 99)
    assert found["nats_per_byte"] == pytest.approx(gpt.load(tmp_path / "run").loss(content[1900:].decode()), abs=1e-5)
