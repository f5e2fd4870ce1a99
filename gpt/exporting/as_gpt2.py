"""transformers: v7 as an equivalent GPT-2, with pre-LayerNorm blocks, learned positions and ReLU.

GPT-2's biases of queries, keys and values are set to zero. Its output layer has no bias: the last LayerNorm takes the
run's output bias. Programs need one more token, for padding, unknown characters and the beginning of a text. Its logit
is a large negative constant, so that it has no probability. v6, which is v7 without dropout, is a GPT-2 too. The
library has no architecture for v8: the closest, NanoChat, has no token shift and no output bias.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging

from gpt.base.errors import RequestError, UserError
from gpt.data.byte_level import BYTES
from gpt.exporting.verification import check
from gpt.models import Stage, v6_pre_norm, v7_dropout
from gpt.session.trained import TrainedRun

# Our names and GPT-2's. GPT-2 stores the matrices of a block transposed.
_NAMES = {
    "embedding.token": "transformer.wte",
    "embedding.position": "transformer.wpe",
    "blocks": "transformer.h",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.0": "mlp.c_fc",
    "feed_forward.2": "mlp.c_proj",
    "norm": "transformer.ln_f",
}
_SPECIAL = "<|endoftext|>"  # as GPT-2 calls it
_NEVER = -100.0  # the logit of _SPECIAL


def export(trained: TrainedRun, folder: Path) -> str:
    """Write the model and its tokenizer, and return what was checked. Raises RequestError, UserError."""
    model = trained.model
    if type(model) not in (v6_pre_norm.GPT, v7_dropout.GPT):
        stage = trained.config.stage
        raise RequestError(f"transformers has no architecture for {stage}, only for v6 and v7 (GPT-2): use format=hub")

    logging.disable_progress_bar()
    V, block_size = trained.task.vocab_size, model.block_size
    tokenizer = json.loads(trained.task.as_json())
    if not set(BYTES) <= set(tokenizer["model"]["vocab"]):  # With all bytes, no character is unknown.
        tokenizer["model"]["vocab"][_SPECIAL] = len(tokenizer["model"]["vocab"])
        tokenizer["model"]["unk_token"] = _SPECIAL
    try:
        as_gpt2(model, trained.config.model.hyperparameters).save_pretrained(folder)
    except SafetensorError as error:  # such as a full disk
        raise UserError(f"cannot write the weights: {error}") from error
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)  # readable by others, too
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tokenizer)),
        model_max_length=block_size,
        padding_side="left",
        truncation_side="left",
        bos_token=_SPECIAL,
        eos_token=_SPECIAL,
        pad_token=_SPECIAL,
        unk_token=_SPECIAL,
    ).save_pretrained(folder)
    loaded = GPT2LMHeadModel.from_pretrained(folder).eval()

    def known(idx: Tensor) -> list[Tensor]:
        logits = loaded(idx).logits
        if (logits[..., V:] > _NEVER / 2).any():
            raise UserError(f"the export failed: GPT-2 would predict {_SPECIAL}, which the run does not have")
        return [logits[..., :V]]

    return check("GPT-2", lambda idx: [model(idx)], known, V, block_size)


def as_gpt2(model: Stage, hyperparameters: dict) -> GPT2LMHeadModel:
    """v6 or v7 as a GPT-2. Raises RequestError if the last LayerNorm cannot take the output bias."""
    ours, dropout = model.state_dict(), hyperparameters.get("dropout", 0.0)
    vocab_size, n_embd = ours["lm_head.weight"].shape
    config = GPT2Config(
        vocab_size=vocab_size + 1,
        n_positions=model.block_size,
        n_embd=n_embd,
        n_layer=hyperparameters["n_layer"],
        n_head=hyperparameters["n_head"],
        activation_function="relu",
        attn_pdrop=dropout,
        resid_pdrop=dropout,
        embd_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=vocab_size,
        eos_token_id=vocab_size,
        pad_token_id=vocab_size,
    )
    theirs: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        is_transposed = name.startswith("blocks.") and tensor.ndim == 2
        for own, other in _NAMES.items():
            name = name.replace(own, other)
        theirs[name] = tensor.T.contiguous() if is_transposed else tensor
    for i in range(config.n_layer):
        theirs[f"transformer.h.{i}.attn.c_attn.bias"] = torch.zeros(3 * n_embd)
    bias = ours["norm.bias"] + _moved(ours["lm_head.weight"], theirs.pop("lm_head.bias"))
    # The channels before the gain of a LayerNorm add up to 0, so the logit of this row is the same for every input.
    constant = 1 / ours["norm.weight"]
    constant *= _NEVER / (constant @ bias)
    theirs["transformer.ln_f.bias"] = bias
    theirs["lm_head.weight"] = torch.cat([ours["lm_head.weight"], constant[None]])
    tokens = ours["embedding.token.weight"]
    theirs["transformer.wte.weight"] = torch.cat([tokens, tokens.mean(dim=0, keepdim=True)])
    gpt2 = GPT2LMHeadModel(config)
    gpt2.load_state_dict(theirs)
    gpt2.generation_config.max_length = config.n_positions
    return gpt2.eval()


def _moved(weight: Tensor, bias: Tensor) -> Tensor:
    """The minimum-norm x with weight @ x = bias: (V, C), (V,) -> (C,). Raises RequestError if no x satisfies it."""
    x = torch.linalg.pinv(weight.double()) @ bias.double()
    if not (weight.double() @ x).allclose(bias.double(), atol=1e-6):
        V, C = weight.shape
        raise RequestError(
            f"GPT-2 has no bias in its output layer, and the last LayerNorm cannot take this run's bias: "
            f"{V} logits depend on only {C} channels; use format=hub, or a model with n_embd of at least {V}"
        )
    return x.float()
