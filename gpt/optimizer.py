"""AdamW and its learning rate."""

import math

import torch
from torch import nn

from gpt.config import TrainingConfig


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW whose weight decay holds for matrices and embeddings; biases and LayerNorm gains are left alone.

    Source: "Decoupled Weight Decay Regularization" (Loshchilov and Hutter, 2019), algorithm 2.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def learning_rate(iteration: int, config: TrainingConfig) -> float:
    """The learning rate of an iteration, counted from 0: a linear warm-up, then the schedule down to the minimum.

    Source of the cosine: "SGDR" (Loshchilov and Hutter, 2017), equation 5, without restarts.
    """
    if iteration < config.warmup_iters:
        return config.learning_rate * (iteration + 1) / config.warmup_iters
    if config.schedule == "constant":
        return config.learning_rate
    progress = (iteration - config.warmup_iters) / max(1, config.max_iters - config.warmup_iters)
    remaining = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.min_learning_rate + remaining * (config.learning_rate - config.min_learning_rate)
