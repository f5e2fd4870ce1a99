"""What is checked of a model: that it can be trained and saved, and that its loss is one of a language model.

A language model predicts each token from those before it alone.
"""

import contextlib
import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gpt.base.errors import RequestError
from gpt.base.runtime import random_numbers_kept
from gpt.base.seeding import generator
from gpt.data.batch import IGNORED
from gpt.models import Stage
from gpt.training.evaluation import tokens_per_pass
from gpt.training.trainer import Trainer

log = logging.getLogger(__name__)

_PLACES = 64
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # relative to the largest logit; rounding depends on the shape


def check_trainable(model: Stage) -> None:
    """Raise RequestError for parameters and state that cannot be trained or saved."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RequestError(f"all parameters of {type(model).__name__} have requires_grad=False: none can be trained")
    for name, parameter in model.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise RequestError(f"{name} has no shape yet: call the module once before it is trained")
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise RequestError(f"{name} is {type(value).__name__}: only tensors can be saved")


@contextlib.contextmanager
def unsaved_buffers_named(model: Stage) -> Iterator[None]:
    """Warn of buffers that change in a training inside and that no checkpoint has, because of persistent=False."""
    unsaved = {name: (x, x.clone()) for name, x in model.named_buffers() if name not in model.state_dict()}
    yield
    if changed := [name for name, (x, before) in unsaved.items() if not x.equal(before)]:
        log.warning(f"{', '.join(changed)} changed, but persistent=False is not saved: a resumed run would differ")


@torch.no_grad()
def check_causality(trainer: Trainer) -> None:
    """Compute the logits of 64 places of the validation split by their past alone, and compare with a whole batch.

    The places are drawn by the seed. Raises RequestError where the logits differ, or are not (B, T, V).
    """
    model, name = trainer.model, type(trainer.model).__name__
    size = tokens_per_pass(trainer.runtime, model)  # as many rows as where losses are measured
    batch = next(iter(trainer.data.every_target_once("val", size, trainer.settings.exact_tokens)))
    was_training = model.training
    model.eval()
    with random_numbers_kept(), trainer.runtime.settings(), trainer.runtime.autocast():
        given = [x.clone() for x in batch.inputs]
        logits = model(*given)
        if not all(x.equal(before) for x, before in zip(given, batch.inputs, strict=True)):
            raise RequestError(
                f"{name} changes the token ids that it is given: let it change a copy, as in ids.clone()"
            )
        _check_shape(logits, (*batch.targets.shape, trainer.task.vocab_size), name)
        places = (batch.targets != IGNORED).nonzero().cpu()  # (N, 2): row, t
        drawn = torch.randint(len(places), (_PLACES,), generator=generator(trainer.config.seed, "causality"))
        for row, t in places[drawn].tolist():
            past = [x[row : row + 1] for x in batch.inputs]
            last = max(i for i, x in enumerate(past) if x.dim() > 1)  # token ids, and not the starts of windows
            past[last] = past[last][:, : t + 1]
            try:
                alone = model(*past)[0, -1]
            except Exception as error:
                takes = f"it must take windows of 1 to block_size={model.block_size} tokens"
                raise RequestError(f"{name} fails on {t + 1} tokens, but {takes}: {error}") from error
            if _differ(logits[row, t], alone, _TOLERANCE[trainer.runtime.dtype]):
                raise RequestError(
                    f"{name} is no language model: its prediction at place {t} depends on what comes later, on other "
                    "rows of the batch, or on the call"
                )
    model.train(was_training)


def _check_shape(logits: object, expected: tuple[int, ...], name: str) -> None:
    found = type(logits).__name__
    if isinstance(logits, Tensor):
        if logits.shape == expected and logits.is_floating_point():
            return
        found = f"{tuple(logits.shape)}, {str(logits.dtype).removeprefix('torch.')}"
    raise RequestError(f"{name} must return logits (B, T, V), here {expected}, but returned {found}")


def _differ(logits: Tensor, others: Tensor, tolerance: float) -> bool:
    atol = tolerance * logits.nan_to_num(0, 0, 0).abs().max().item()
    return not torch.allclose(logits, others, rtol=0, atol=atol, equal_nan=True)
