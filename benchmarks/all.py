"""Every benchmark, one after the other, as one Markdown table.

python benchmarks/all.py --lecture PATH --nanogpt PATH --annotated PATH --run RUN_FOLDER
"""

import sys

import busy_machine
import generation
import memory
import private_kernels
import seeds
import small_stages
import translation
import v7_training
from harness import Row, arguments, table

if __name__ == "__main__":
    given = arguments(__doc__, "lecture", "nanogpt", "annotated", "run")
    rows: list[Row] = []
    for more in (
        lambda: small_stages.rows(given.lecture, given.repeats, quick=given.quick),
        lambda: v7_training.rows(given.nanogpt, given.repeats, quick=given.quick),
        lambda: generation.rows(given.nanogpt, given.repeats, quick=given.quick),
        lambda: busy_machine.against_libgomp(given.repeats, quick=given.quick),
        lambda: memory.rows(given.repeats, quick=given.quick),
        lambda: seeds.rows(given.repeats, quick=given.quick),
        lambda: translation.rows(given.annotated, given.run, given.repeats, quick=given.quick),
        lambda: private_kernels.rows(given.repeats, quick=given.quick),
    ):
        rows += more()
        print(table(rows), file=sys.stderr)  # it takes an hour: what is known already
    print(table(rows))
