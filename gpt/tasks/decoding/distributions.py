"""From logits to probabilities: a check, because finite weights can produce logits that are NaN or Inf."""

from torch import Tensor

from gpt.base.errors import UserError


def checked(logits: Tensor) -> Tensor:
    """The logits, (..., V), unchanged. Raises UserError if NaN or Inf leaves no distribution."""
    if not logits.amax(dim=-1).isfinite().all():  # a token may be impossible, but not all of them
        raise UserError("the logits of this run contain NaN or Inf: its weights are damaged, or far too large")
    return logits
