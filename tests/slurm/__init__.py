"""A real Slurm on this machine: pytest -m slurm."""
