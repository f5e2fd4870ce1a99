"""The stages, one module each. Read them in order: every one is the one before plus a single idea.

A stage is a `torch.nn.Module` with

- `forward(idx)`: (B, T) int64 token ids -> (B, T, V) logits, where position t has seen tokens 0 .. t;
- `block_size`: the longest T it takes;
- `new_cache(batch_size)`, from v7 on: an empty `KVCache`, which `forward(idx, cache)` fills while decoding.

Symbols: B batch, T time, C channels (n_embd), H heads, D head size, V vocabulary, L layers.
"""

import importlib
import inspect
import pkgutil

from torch import nn

from gpt.errors import RequestError


def build(target: str, **hyperparameters: int | float | str) -> nn.Module:
    """The stage named by `target`, such as "gpt.models.v5_residual.ResidualModel".

    Only classes of this package are ever looked up, so a configuration that somebody else wrote cannot
    make it run anything else. Raises RequestError for another target or for hyperparameters it does not take.
    """
    module_name, _, class_name = target.rpartition(".")
    modules = {f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)}
    stage = getattr(importlib.import_module(module_name), class_name, None) if module_name in modules else None
    if not (isinstance(stage, type) and issubclass(stage, nn.Module) and stage.__module__ == module_name):
        raise RequestError(f"model._target_={target} is not a stage of {__name__}")
    taken = inspect.signature(stage).parameters
    unknown = [name for name in hyperparameters if name not in taken]
    missing = [name for name in taken if name not in hyperparameters]
    if unknown or missing:
        wrong = f"{unknown[0]} is not a hyperparameter of" if unknown else f"{missing[0]} is needed by"
        raise RequestError(f"model.{wrong} {class_name}, which takes {', '.join(taken)}")
    try:
        return stage(**hyperparameters)
    except ValueError as error:
        raise RequestError(f"model: {str(error).splitlines()[0]}") from None
