"""Where logits become probabilities: they are checked there, because finite weights can have logits that are not."""

from torch import Tensor

from gpt.base.errors import UserError


def checked(logits: Tensor) -> Tensor:
    """The logits, (..., V), as they are. Raises UserError if they are no distribution, because of NaN or Inf."""
    if not logits.amax(dim=-1).isfinite().all():  # a token may be impossible, but not all of them
        raise UserError("the logits of this run contain NaN or Inf: its weights are damaged, or far too large")
    return logits
