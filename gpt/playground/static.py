"""The page without a server: its files, runs as ONNX graphs, and onnxruntime-web, which runs them in the browser.

index.html#v5 shows v5, index.html#v4,v5 both of them; index.html?embed#v5 is for a frame in another page.
"""

import gzip
import json
import logging
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpt.base.errors import RequestError, UserError
from gpt.base.ladder import rank
from gpt.base.runtime import size_of
from gpt.config.command_schemas import BeamConfig
from gpt.config.schema import Saved, Weights
from gpt.data.download import npm_package
from gpt.exporting import browser, graphs
from gpt.exporting.model_card import without_paths
from gpt.exporting.staging import staged
from gpt.exporting.training_graphs import export_training
from gpt.playground import inspect, translating
from gpt.playground.assets import POLICY, files
from gpt.playground.describe import in_full
from gpt.registry import Choice
from gpt.reports.listing import differing
from gpt.runs.finding import finished_runs
from gpt.runs.folder import RunFolder
from gpt.runs.tensors import serialised
from gpt.runs.weights import leading_to
from gpt.session.trained import TrainedRun, load_run
from gpt.tasks.continuation import Continuation
from gpt.tasks.translation import Translation

_ORT = "onnxruntime-web@1.30.0"
_ORT_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
_ORT_FILES = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm")  # of its 100 MB, 14
_SEARCH = BeamConfig().model_dump()
_LARGEST_LOADED = 500_000  # parameters of a run to train or with snapshots: a reader loads 2 MB for each
_TRAINING = ("learning_rate", "batch_size", "max_iters", "eval_iters")  # what the page trains with
_ABLATIONS = "gpt.models.variants"
# Stages with one difference, which the page trains beside the stage itself (page/training/experiments.js): by stage and
# name, the hyperparameters that differ.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "v2": {"without_scaling": {"_target_": f"{_ABLATIONS}.v2.WithoutScaling"}},
    "v3": {
        "one_head": {"n_head": 1},
        "one_head_with_direct_path": {"_target_": f"{_ABLATIONS}.v3.WithDirectPath", "n_head": 1},
    },
    "v4": {
        "1_block": {"n_layer": 1},
        "6_blocks": {"n_layer": 6},
        **{
            name: {"_target_": f"{_ABLATIONS}.v4.WithScaledInit", "n_layer": blocks}
            for name, blocks in {"scaled": 3, "6_blocks_scaled": 6}.items()
        },
        "6_blocks_with_residuals": {"_target_": f"{_ABLATIONS}.v4.WithResiduals", "n_layer": 6},
    },
    "v5": {
        "6_blocks": {"n_layer": 6},
        "6_blocks_without_residuals": {"_target_": f"{_ABLATIONS}.v5.WithoutResiduals", "n_layer": 6},
    },
}

log = logging.getLogger(__name__)


def newest_of_each_stage(roots: list[Path], stage: str | None = None) -> dict[str, RunFolder]:
    """The newest finished run of each stage below these folders, or of one stage, by stage.

    Raises RequestError if there is none.
    """
    newest = {run.summary.stage: run.folder for run in finished_runs(*roots, stages=[stage] if stage else [])}
    return {stage: newest[stage] for stage in sorted(newest, key=rank)}


def exactly(folders: list[Path]) -> dict[str, RunFolder]:
    """These run folders, by their names or stages, with a number if a name is taken."""
    named: dict[str, RunFolder] = {}
    for run in map(RunFolder, folders):
        config = run.config()
        name = config.name or config.stage
        names = (name, *(f"{name}_{number}" for number in range(2, len(folders) + 1)))
        named[next(free for free in names if free not in named)] = run
    return named


def write(runs: Mapping[str, RunFolder], out: Path, data_dir: Path, *, weights: Weights = "auto") -> str:
    """Write the page with these runs, under the names used in its address, to the new folder `out`.

    Runs that have no graph, or whose graph does not compute the same, are left out with a warning. onnxruntime-web is
    downloaded to `data_dir`, once. Returns a description of what was checked. Raises RequestError if no run remains,
    UserError if the download fails.
    """
    with staged(out) as folder:
        contents, described, checked = page(data_dir), {}, []
        for name, run in runs.items():
            place = folder / "graphs" / name
            try:
                described[name], lines = export_run(name, run, place, weights)
            except UserError as error:
                log.warning(f"left out {name}: {error}")
                shutil.rmtree(place)
            else:
                checked += [f"{name}: {line}" for line in lines]
        if not described:
            raise RequestError("none of these runs can run in a browser")
        for name, content in (contents | {"runs.json": json.dumps(described).encode()}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    return "\n".join(
        [*checked, f"written: {out}; open it with python -m http.server --directory {shlex.quote(str(out))}"]
    )


def page(data_dir: Path) -> dict[str, bytes]:
    """The files of the page by name, without its runs. Raises UserError if a download fails."""
    runtime = npm_package(data_dir, _ORT, _ORT_FILES, _ORT_SHA256)
    runtime = {name.replace("dist", "ort"): content for name, content in runtime.items()}
    wasm = runtime.pop("ort/ort-wasm-simd-threaded.wasm")
    runtime["ort/ort-wasm-simd-threaded.wasm.gz"] = gzip.compress(wasm, mtime=0)  # few file servers compress it
    contents = files()
    return contents | runtime | {"index.html": _index(contents["index.html"])}


def export_run(name: str, run: RunFolder, folder: Path, weights: Weights = "auto") -> tuple[dict[str, Any], list[str]]:
    """Write the graphs of a run to a new folder; return its description and what was checked.

    Raises RequestError, UserError.
    """
    folder.mkdir(parents=True)
    trained = load_run(run.path, weights=weights, device="cpu")
    full = in_full(name, run, run.summary(), weights)
    changed = without_paths(full["changed"])
    full |= {"folder": run.path.name, "changed": changed, "differing": differing(changed)}
    if isinstance(trained.task, Translation):
        return full | _translator(trained, full["prompt"], folder), [browser.export_translator(trained, folder)]
    Continuation.required(trained.task, "a page without a server")
    choice, kept, training, checked = trained.config.model, _moments(trained), {}, []
    try:
        if full["answers_only"] and not _is_made_up_there(trained.config.data, trained.model.block_size):
            raise RequestError("it was trained on the answers of its lines alone, and the page trains on whole texts")
        if size_of(trained.model) > _LARGEST_LOADED:
            raise RequestError(f"this stage has more than {_LARGEST_LOADED:,} parameters, which is slow in a browser")
        checked.append(export_training(choice, folder))
        training = {key: getattr(trained.config.training, key) for key in _TRAINING}
        training["optimizer"] = trained.config.optimizer.target.rpartition(".")[2]
        kept = kept or {trained.run.summary().iterations: trained.which}
    except RequestError as error:
        why = str(error)
    own: dict[str, Any] = {"training": training or why, "variants": []}
    for variant, other in _variants(trained.config.stage, choice).items() if training else ():
        (folder / "variants" / variant).mkdir(parents=True)
        checked.append(f"{variant}: {export_training(other, folder / 'variants' / variant)}")
        own["variants"].append(variant)
    inputs = graphs.inputs_of(choice, trained.model) if kept else graphs.NONE
    checked += graphs.export(trained, folder, inputs).split("\n") + browser.export_parts(trained, folder, inputs)
    checked += [browser.export_moments(trained, kept, folder)] if kept else []
    own |= {"has_attention": (folder / "with_attention.onnx").exists(), "moments": list(kept)}
    (folder / "first.safetensors").write_bytes(_first(trained, full["prompt"]))
    return full | own, checked


def _variants(stage: str, choice: Choice) -> dict[str, Choice]:
    """The variants of a stage, by name; {} for a stage without experiments."""
    own = choice.model_dump(by_alias=True)
    return {name: Choice.model_validate(own | other) for name, other in VARIANTS.get(stage, {}).items()}


def _is_made_up_there(data: Choice, block_size: int) -> bool:
    """Whether the page generates such lines (page/training/texts.js): recall that fills the window."""
    own = data.hyperparameters
    return data.target == "gpt.data.lines.recall" and own["distance"] == 0 and block_size == 2 * own["pairs"] + 1


def _translator(trained: TrainedRun, prompt: str, folder: Path) -> dict[str, Any]:
    """The differences in the description of a run that translates; writes the attention for its first prompt."""
    own: dict[str, Any] = {"training": "it translates, and the page trains on texts", "moments": []}
    if not prompt:
        return own
    example = translating.translations(trained, prompt, **_SEARCH)
    best = example["beams"][0]
    attention = translating.cross_attention(trained, prompt, best["ids"] if best["ended"] else best["ids"][:-1])
    (folder / "first.safetensors").write_bytes(serialised(attention))
    return own | {"example": {"sentence": prompt, **_SEARCH, **example}}


def _first(trained: TrainedRun, prompt: str) -> bytes:
    """The answers for the first prompt: the page needs no engine until the reader changes something."""
    ids = trained.tokenizer.encode(prompt).tolist()
    tensors = {"ids": torch.tensor(ids, dtype=torch.float32)}
    if not ids:
        return serialised(tensors)
    window = ids[-trained.model.block_size :]
    tensors[f"logits_{len(ids)}"] = inspect.logits(trained, ids)
    tensors |= inspect.attention(trained, window) | inspect.interventions(trained, window)
    return serialised(tensors)


def _moments(trained: TrainedRun) -> dict[int, Saved | int]:
    """The moments of the training on the page: the run's snapshots, unless loading them would take too long."""
    kept = leading_to(trained.run, trained.which)
    if kept and size_of(trained.model) > _LARGEST_LOADED:
        log.warning(f"{trained.run.path}: left out its snapshots, of more than {_LARGEST_LOADED:,} parameters each")
        return {}
    return kept


def _index(html: bytes) -> bytes:
    """The page with the ONNX engine, and with the content-security policy that a server would send as a header."""
    policy = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")  # for WebAssembly
    meta = f'<meta charset="utf-8">\n    <meta http-equiv="Content-Security-Policy" content="{policy}">'
    text = html.decode().replace('data-engine="server"', 'data-engine="onnx"')
    return text.replace('<meta charset="utf-8">', meta).encode()
