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
from harness import Row, parser, table

if __name__ == "__main__":
    given = parser(__doc__, "lecture", "nanogpt", "annotated", "run").parse_args()
    rows: list[Row] = []
    for module in (small_stages, v7_training, generation, translation, two_processes, private_kernels):
        rows += module.rows(given)
        print(table(rows), file=sys.stderr)  # it takes an hour: what is known already
    print(table(rows))
