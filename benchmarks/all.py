"""Every benchmark, one after the other, as one Markdown table.

python benchmarks/all.py --lecture PATH --nanogpt PATH --annotated PATH --run RUN_FOLDER
"""

import sys

import generation
import memory
import seeds
import small_stages
import translation
import v7_training
from harness import Row, arguments, table

if __name__ == "__main__":
    given = arguments(__doc__, "lecture", "nanogpt", "annotated", "run")
    rows: list[Row] = []
    for more in (
        lambda: small_stages.rows(given.lecture, given.repeats),
        lambda: v7_training.rows(given.nanogpt, given.repeats),
        lambda: generation.rows(given.nanogpt, given.repeats),
        lambda: memory.rows(given.repeats),
        lambda: seeds.rows(given.repeats),
        lambda: translation.rows(given.annotated, given.run, given.repeats),
    ):
        rows += more()
        print(table(rows), file=sys.stderr)  # an hour is long: what is known already
    print(table(rows))
