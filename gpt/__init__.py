"""gpt-ladder: one module per stage, one training loop for all of them.

    run = gpt.train("model=v5", "training.max_iters=500")
    gpt.compare("runs")
    run = gpt.load("runs/2026-01-31/12-00-00_v5_seed1337")

docs/python.md describes what a run can do.
"""

import os

# By default, OpenMP's threads spin for milliseconds while they wait, and block the cores of a busy machine. Without any
# spinning, waking them takes half of the time of generation. This number of spins lasts about as long as the wait
# inside a step. OpenMP reads both when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "6000")

from gpt.base.errors import UserError
from gpt.base.version import __version__
from gpt.notebook import compare, load, train

__all__ = ["UserError", "__version__", "compare", "load", "train"]
