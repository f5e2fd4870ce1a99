"""What the scripts of forked processes find imported already."""

# ruff: noqa: F401

import contextlib
import importlib

import hydra._internal.hydra
import matplotlib.backends.backend_agg
import matplotlib.figure
import safetensors.torch
import torch.distributed
from hydra.core.plugins import Plugins

import gpt.cli
import gpt.reports.run
import gpt.session.start
from gpt.base.commands import COMMANDS

with contextlib.suppress(ImportError):  # without an extra
    import optuna
    import sacrebleu.metrics
    import tokenizers
for command in COMMANDS.values():
    importlib.import_module(command.module)
Plugins.instance()  # looks for them
