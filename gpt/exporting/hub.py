"""The form of the Hugging Face hub: config.json, model.safetensors, tokenizer.json and a model card.

A folder, or a repository of the hub, is loaded again by

    model = PretrainedGPT.from_pretrained("FOLDER")

and is only data: config.json names a stage of gpt.models and its hyperparameters, and nothing is unpickled or executed.
"""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gpt import models, tasks
from gpt.choices import Choice
from gpt.errors import UserError
from gpt.exporting import tokenizer
from gpt.exporting.card import body
from gpt.runs.records import Vocabulary
from gpt.runs.weights import serialised
from gpt.trained import Trained

LIBRARY = "gpt-ladder"
_WEIGHTS = "model.safetensors"


class PretrainedGPT(nn.Module, ModelHubMixin):
    """A stage with its tokenizer, in evaluation mode; `save_pretrained` and `push_to_hub` are the mixin's."""

    def __init__(self, stage: str, model: dict[str, Any], vocabulary: Vocabulary) -> None:
        super().__init__()
        self.stage, self.task = stage, tasks.of(vocabulary)
        self.model = models.build(Choice.model_validate(model), self.task.vocab_size)
        self.eval()

    def forward(self, *tokens: Tensor) -> Tensor:
        """idx: (B, T) int64 token ids -> logits (B, T, V); of a translator, (source, target)."""
        return self.model(*tokens)

    def generate(self, prompt: str | None = None, **options: Any) -> str:
        """A continuation of the prompt, or its translation; `options` are those of `gpt.trained.Trained.generate`."""
        return self.task.output(self.model, prompt, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / _WEIGHTS).write_bytes(serialised(self.model.state_dict(), {"format": "pt"}))
        tokenizer.as_tokenizer(self.task).save(str(save_directory / tokenizer.NAME))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options: Any) -> "PretrainedGPT":
        """What `from_pretrained` calls: `options` are the content of config.json, and where and how to download."""
        configured = {key: options.pop(key) for key in ("stage", "model") if key in options}
        if len(configured) < 2:
            raise UserError(f"{model_id} was not exported by this project: its config.json names no stage and model")

        def file(name: str) -> Path:
            return Path(model_id, name) if Path(model_id).is_dir() else Path(hf_hub_download(model_id, name, **options))

        loaded = cls(**configured, vocabulary=tokenizer.vocabulary_of(file(tokenizer.NAME)))
        try:
            loaded.model.load_state_dict(load_file(file(_WEIGHTS)))
        except (RuntimeError, SafetensorError):  # PyTorch's message has a line for each tensor
            raise UserError(
                f"{model_id} is damaged: the tensors of {_WEIGHTS} are not those of its config.json"
            ) from None
        return loaded.to(map_location)


def export(trained: Trained, folder: Path, license: str) -> str:
    """Write the model, its tokenizer and its card, and return what was checked. Raises UserError."""
    choice = trained.config.model.model_dump(by_alias=True)
    pretrained = PretrainedGPT(trained.config.stage, choice, trained.run.vocabulary())
    pretrained.model.load_state_dict(trained.model.state_dict())
    task = "translation" if isinstance(trained.task, tasks.Translation) else "text-generation"
    data = ModelCardData(license=license, library_name=LIBRARY, pipeline_tag=task, tags=[LIBRARY, trained.config.stage])
    ModelCard(f"---\n{data.to_yaml()}\n---\n{body(trained)}").save(folder / "README.md")
    pretrained.save_pretrained(folder)  # type: ignore[operator]  # of the mixin
    return _checked(trained, folder)


def _checked(trained: Trained, folder: Path) -> str:
    """Load the export and compare its weights and its vocabulary with the run's. Raises UserError if they differ."""
    loaded = PretrainedGPT.from_pretrained(folder)
    expected, found = trained.model.state_dict(), loaded.model.state_dict()
    if expected.keys() != found.keys() or not all(torch.equal(expected[name], found[name]) for name in expected):
        raise UserError("the export failed: the weights that are read back are not the run's")
    before, after = trained.run.vocabulary(), tokenizer.vocabulary_of(folder / tokenizer.NAME)
    if (before.vocabulary, before.merges) != (after.vocabulary, after.merges):
        raise UserError("the export failed: the vocabulary that is read back is not the run's")
    return f"read back by from_pretrained: {len(expected)} tensors and the vocabulary, equal to the bit"
