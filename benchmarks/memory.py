"""Peak resident memory of a v5 run, compared with that of `import torch` with the corpus as a tensor.

python benchmarks/memory.py
"""

import sys
import tempfile
from pathlib import Path

from harness import QUICK_TRAINING, Row, alternate, arguments, peak_megabytes, table, train_command

from gpt.base.installation import TINY_SHAKESPEARE

_LEAST = f"""
import torch
text = open({str(TINY_SHAKESPEARE)!r}).read()
ids = {{c: i for i, c in enumerate(sorted(set(text)))}}
torch.tensor([ids[c] for c in text])
"""


def rows(repeats: int, *, quick: bool) -> list[Row]:
    """Megabytes at the peak."""
    training = train_command("model=v5", "device=cpu", *(QUICK_TRAINING if quick else []))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = alternate(
            repeats,
            lambda: peak_megabytes(training, folder),
            lambda: peak_megabytes([sys.executable, "-c", _LEAST], folder),
        )
        return [Row("v5, documented run, peak memory", "MB", measured, "import torch and the corpus")]


if __name__ == "__main__":
    given = arguments(__doc__)
    print(table(rows(given.repeats, quick=given.quick)))
