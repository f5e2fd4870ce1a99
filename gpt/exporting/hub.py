"""The format of the Hugging Face hub: config.json, model.safetensors, tokenizer.json and a model card.

Load a folder, or a repository on the hub, with

    model = PretrainedGPT.from_pretrained("FOLDER")

An export is only data: config.json names a stage of gpt.models and its hyperparameters. Nothing is unpickled or
executed.
"""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from gpt import models, tasks
from gpt.base.errors import UserError
from gpt.base.files import damaged_as_user_error, read_text_file
from gpt.data.vocabulary import Vocabulary, parts_of
from gpt.exporting.model_card import body
from gpt.registry import Choice
from gpt.runs.tensors import serialised
from gpt.session.trained import TrainedRun

LIBRARY = "gpt-ladder"
_WEIGHTS, _TOKENIZER = "model.safetensors", "tokenizer.json"


class PretrainedGPT(nn.Module, ModelHubMixin):
    """A stage with its tokenizer, in evaluation mode; `save_pretrained` and `push_to_hub` come from the mixin."""

    def __init__(self, stage: str, model: dict[str, Any], loader: str, tokenizer: str, vocabulary: Vocabulary) -> None:
        """`loader` is the function in gpt.data that loaded the corpus: its return type selects the task.

        `tokenizer` is the kind of the vocabulary; the mixin writes every argument that is JSON to config.json.
        """
        del tokenizer
        super().__init__()
        self.stage, self.task = stage, tasks.of(Choice(_target_=loader)).restored(vocabulary)
        self.model = models.build(Choice.model_validate(model), self.task.vocab_size)
        self.eval()

    def forward(self, *tokens: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids -> logits (B, T, V); a translator takes (source, target)."""
        return self.model(*tokens)

    def generate(self, prompt: str | None = None, **options: Any) -> str:
        """A continuation of the prompt, or its translation; `options`: see `TrainedRun.generate`."""
        return self.task.outputs(self.model, prompt, 1, **options)[0]

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / _WEIGHTS).write_bytes(serialised(self.model.state_dict(), {"format": "pt"}))
        Tokenizer.from_str(self.task.as_json()).save(str(save_directory / _TOKENIZER))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options: Any) -> "PretrainedGPT":
        """Called by `from_pretrained`; `options` are the contents of config.json and the download options."""
        keys = ("stage", "model", "loader", "tokenizer")
        if lacking := [key for key in keys if key not in options]:
            raise UserError(
                f"{model_id} was not exported by this project: its config.json has no {' and no '.join(lacking)}"
            )
        configured = {key: options.pop(key) for key in keys}

        def file(name: str) -> Path:
            return Path(model_id, name) if Path(model_id).is_dir() else Path(hf_hub_download(model_id, name, **options))

        vocabulary = vocabulary_of(file(_TOKENIZER), configured["tokenizer"])
        loaded = cls(vocabulary=vocabulary, **configured)
        try:
            loaded.model.load_state_dict(load_file(file(_WEIGHTS)))
        except (RuntimeError, SafetensorError):  # PyTorch's message has a line for each tensor
            raise UserError(f"{model_id} is damaged: the tensors of {_WEIGHTS} do not match its config.json") from None
        return loaded.to(map_location)


def export(trained: TrainedRun, folder: Path, license: str) -> str:
    """Write the model, its tokenizer and its card, and return what was checked. Raises UserError."""
    config = trained.config
    choice = config.model.model_dump(by_alias=True)
    vocabulary = trained.run.vocabulary()
    pretrained = PretrainedGPT(config.stage, choice, config.data.target, vocabulary.kind, vocabulary)
    pretrained.model.load_state_dict(trained.model.state_dict())
    tag = trained.task.pipeline_tag
    data = ModelCardData(license=license, library_name=LIBRARY, pipeline_tag=tag, tags=[LIBRARY, config.stage])
    ModelCard(f"---\n{data.to_yaml()}\n---\n{body(trained)}").save(folder / "README.md")
    pretrained.save_pretrained(folder)  # type: ignore[operator]  # of the mixin
    expected, found = trained.model.state_dict(), PretrainedGPT.from_pretrained(folder).model.state_dict()
    if expected.keys() != found.keys() or not all(torch.equal(expected[name], found[name]) for name in expected):
        raise UserError("the export failed: the weights read back differ from the run's")
    after = vocabulary_of(folder / _TOKENIZER, vocabulary.kind)
    if (list(vocabulary.vocabulary), vocabulary.merges) != (after.vocabulary, after.merges):
        raise UserError("the export failed: the vocabulary read back differs from the run's")
    return f"read back by from_pretrained: {len(expected)} tensors and the vocabulary, bit-identical"


def vocabulary_of(path: Path, kind: str) -> Vocabulary:
    """The vocabulary of this kind in a tokenizer.json that this project exported.

    Raises UserError for other or damaged files.
    """
    with damaged_as_user_error(path):
        tokens, merges = parts_of(json.loads(read_text_file(path)))
        return Vocabulary(kind=kind, vocabulary=tokens, merges=merges, corpus="")
