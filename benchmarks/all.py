"""Every benchmark against a peer, one after the other, as one Markdown table.

python benchmarks/all.py --lecture PATH --nanogpt PATH --annotated PATH --run RUN_FOLDER
"""

import sys

import generation
import private_kernels
import small_stages
import translation
import two_processes
import v7_training
from harness import Row, arguments, table

if __name__ == "__main__":
    given = arguments(__doc__, "lecture", "nanogpt", "annotated", "run")
    rows: list[Row] = []
    for more in (
        lambda: small_stages.rows(given.lecture, given.repeats, quick=given.quick),
        lambda: v7_training.rows(given.nanogpt, given.repeats, quick=given.quick),
        lambda: generation.rows(given.nanogpt, given.repeats, quick=given.quick),
        lambda: translation.rows(given.annotated, given.run, given.repeats, quick=given.quick),
        lambda: two_processes.rows(given.repeats, quick=given.quick),
        lambda: private_kernels.rows(given.repeats, quick=given.quick),
    ):
        rows += more()
        print(table(rows), file=sys.stderr)  # it takes an hour: what is known already
    print(table(rows))
