"""What the scripts of forked processes find imported already."""

# ruff: noqa: F401

import hydra._internal.hydra
import matplotlib.backends.backend_agg
import matplotlib.figure
import optuna
import sacrebleu.metrics
import safetensors.torch
import tokenizers
import torch.distributed
from hydra.core.plugins import Plugins

import gpt.reports.run
import gpt.searching.command
import gpt.session.compare
import gpt.session.continuing
import gpt.session.evaluate
import gpt.session.generate
import gpt.session.job
import gpt.session.train

Plugins.instance()  # looks for them
