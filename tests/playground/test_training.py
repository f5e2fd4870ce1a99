"""Training in the page: the stage's own loss and gradients, in a worker of a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from gpt import models
from gpt.runs.finding import finished_runs
from gpt.training.optimizers import AdamW
from tests.playground.browsing import visit
from tests.playground.conftest import STAGES, serving_files

pytestmark = pytest.mark.slow

ITERATIONS, BATCH, RATE = 50, 16, 1e-2

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
  const settings = { learningRate: rate, batchSize: places[0].length, seed: 1, blockSize: run.block_size };
  const training = new Training(
    { step: graph("training.onnx"), loss: graph("loss.onnx") }, weights, { train: all, val: all }, settings);
  const losses = [];
  for (const starts of places) losses.push(await training.iterate(starts));
  return [first, losses];
}"""


@pytest.fixture(scope="module")
def address(published: Path) -> Iterator[str]:
    with serving_files(published) as started:
        yield started


@pytest.mark.parametrize("stage", STAGES)
def test_it_trains_as_pytorch_does(browser: Any, address: str, published: Path, several: Path, stage: str) -> None:
    (run,) = (run.folder for run in finished_runs(several / "runs", stage=stage))
    V = len(run.vocabulary().vocabulary)
    described = json.loads((published / "runs.json").read_text())[stage]
    model = models.build(run.config().model, V).train()
    model.load_state_dict(
        load_file(published / "graphs" / stage / "weights" / f"{described['moments'][0]}.safetensors"), strict=False
    )
    T, draw = described["block_size"], torch.Generator().manual_seed(1)
    ids = torch.randint(V, (500,), generator=draw)
    places = torch.randint(len(ids) - T, (ITERATIONS, BATCH), generator=draw)
    with visit(browser, f"{address}/#{stage}") as visited:
        first, losses = visited.page.evaluate(TRAINED, [stage, ids.tolist(), places.tolist(), RATE])

    optimizer = AdamW(model, RATE, weight_decay=0.01, beta1=0.9, beta2=0.999)
    for i, starts in enumerate(places):
        windows = torch.stack([ids[start : start + T + 1] for start in starts])
        loss = cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        if i == 0:
            for name, weight in model.named_parameters():
                found = torch.tensor(first[f"gradient.{name}"]).view_as(weight)
                assert weight.grad is not None
                assert (found - weight.grad).abs().max() <= 1e-4 * weight.grad.abs().max(), name
        assert losses[i] == pytest.approx(loss.item(), abs=1e-3)
        optimizer.step({"all": RATE}, torch.zeros(()))
    assert losses[-1] < losses[0]
