"""A GPT grown from scratch: one module per stage, one loop for all of them."""

import os

# By default, OpenMP's threads spin while they wait, which takes the cores from everything else on a busy machine: a
# training takes several times as long there. OpenMP reads these when PyTorch is imported, so it is done here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
