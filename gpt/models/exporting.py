"""Whether a model is being exported, as a graph for windows of any length."""

import torch


def is_exporting() -> bool:
    """Whether torch.export is tracing the model.

    In torch.compile, PyTorch's own function is True as well, up to version 2.11.
    """
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
