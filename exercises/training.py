"""A training step. Replace each BLANK, then run `python -m exercises training`.

The idea: docs/course/loop.md.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from exercises import BLANK


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, idx: Tensor, targets: Tensor) -> float:
    """idx, targets: (B, T) token ids -> the loss before the step, in nats per token; the weights change in place."""
    loss = BLANK  # (): how wrong the predictions of model(idx), (B, T, V), are
    BLANK  # the gradient of this loss alone
    BLANK  # the step
    return BLANK  # a number, for a log
