"""AdamW and its learning rate."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from gpt.config import TrainingConfig


class AdamW:
    """AdamW whose weight decay holds for matrices and embeddings; biases and LayerNorm gains are left alone.

    Bit for bit `torch.optim.AdamW(fused=True)`, around the same kernel. Ours because that one's first step imports
    PyTorch's compiler (a second, 80 MB), and because a small stage's step is so short that bookkeeping shows.

    Source: "Decoupled Weight Decay Regularization" (Loshchilov and Hutter, 2019), algorithm 2.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self._beta1, self._beta2 = config.beta1, config.beta2
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.first_moments = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.second_moments = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        device = next(iter(self.parameters.values())).device
        self.steps = torch.zeros((), device=device)  # on the device, where the kernel reads it
        decaying = [name for name, p in self.parameters.items() if p.dim() >= 2]
        others = [name for name, p in self.parameters.items() if p.dim() < 2]
        self.groups = [(decaying, config.weight_decay), (others, 0.0)]

    @torch.no_grad()
    def step(self, learning_rate: float, skip: Tensor | None = None) -> None:
        """Move the parameters by their gradients; where the scalar `skip` is 1, on the device, leave all as it is."""
        self.steps += 1 if skip is None else 1 - skip
        for names, weight_decay in self.groups:
            if not names:
                continue
            torch._fused_adamw_(
                [self.parameters[name] for name in names],
                [cast(Tensor, self.parameters[name].grad) for name in names],
                [self.first_moments[name] for name in names],
                [self.second_moments[name] for name in names],
                max_exp_avg_sqs=[],
                state_steps=[self.steps] * len(names),
                lr=learning_rate,
                beta1=self._beta1,
                beta2=self._beta2,
                weight_decay=weight_decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
                found_inf=skip,
            )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The optimizer's memory by name, to be kept or written over in place."""
        first = {f"first_moment.{name}": moment for name, moment in self.first_moments.items()}
        second = {f"second_moment.{name}": moment for name, moment in self.second_moments.items()}
        return {"steps": self.steps, **first, **second}


def learning_rate(iteration: int, config: TrainingConfig) -> float:
    """The learning rate of an iteration, counted from 0: a linear warm-up, then the schedule down to the minimum.

    Source of the cosine: "SGDR" (Loshchilov and Hutter, 2017), equation 5, without restarts; of the inverse square
    root: "Attention Is All You Need" (Vaswani et al., 2017), section 5.3, with its peak as the learning rate.
    """
    if iteration < config.warmup_iters:
        return config.learning_rate * (iteration + 1) / config.warmup_iters
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "inverse_sqrt":
        return config.learning_rate * math.sqrt(max(1, config.warmup_iters) / (iteration + 1))
    progress = (iteration - config.warmup_iters) / max(1, config.max_iters - config.warmup_iters)
    remaining = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.min_learning_rate + remaining * (config.learning_rate - config.min_learning_rate)
