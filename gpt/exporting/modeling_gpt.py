"""A stage as a model of the library `transformers`; an export has this file beside its weights.

AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from gpt.models.v1_bigram import Bigram as Stage  # an export imports its own stage here


class GPTConfig(PretrainedConfig):
    """The number of tokens, and the hyperparameters of the stage."""

    model_type = "gpt-ladder"

    def __init__(self, vocab_size: int = 1, hyperparameters: dict[str, Any] | None = None, **others: Any) -> None:
        self.vocab_size, self.hyperparameters = vocab_size, hyperparameters or {"block_size": 1}
        super().__init__(**({"tie_word_embeddings": False, "use_cache": False} | others))


class GPTForCausalLM(PreTrainedModel, GenerationMixin):
    """The stage. It has no padding: the rows of a batch are equally long."""

    config_class = GPTConfig

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        with torch.device("cpu"):  # The library builds on "meta", without values.
            self.model = Stage(vocab_size=config.vocab_size, **config.hyperparameters)
        saved = self.state_dict().keys()
        self._computed = {name: buffer.clone() for name, buffer in self.named_buffers() if name not in saved}
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Restore computed buffers, which the library drops. The stage has initialised its weights itself."""
        del module
        for name, buffer in self._computed.items():
            self.get_buffer(name).copy_(buffer)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **others: Any
    ) -> CausalLMOutput:
        """(B, T) int64 token ids, T <= block_size -> logits (B, T, V), and the mean loss of `labels`, (B, T).

        Raises ValueError for a mask that hides something, or for more tokens than block_size.
        """
        del others
        if attention_mask is not None and not attention_mask.all():
            raise ValueError("this model has no padding: give it rows of the same length")
        if input_ids.shape[1] > self.model.block_size:
            raise ValueError(f"{input_ids.shape[1]} tokens are more than this model's window, {self.model.block_size}")
        logits = self.model(input_ids)
        loss = None if labels is None else self.loss_function(logits, labels, self.config.vocab_size)
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **others: Any) -> dict[str, Tensor]:
        """The last window of a text: (B, T) -> at most block_size of T."""
        del others
        return {"input_ids": input_ids[:, -self.config.hyperparameters["block_size"] :]}
