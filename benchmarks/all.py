"""Every benchmark, one after the other, as one Markdown table.

python benchmarks/all.py --lecture PATH --nanogpt PATH
"""

import generation
import memory
import seeds
import small_stages
import v7_training
from harness import arguments, table

if __name__ == "__main__":
    given = arguments(__doc__, "lecture", "nanogpt")
    print(
        table(
            [
                *small_stages.rows(given.lecture, given.repeats),
                *v7_training.rows(given.nanogpt, given.repeats),
                *generation.rows(given.nanogpt, given.repeats),
                *memory.rows(given.repeats),
                *seeds.rows(given.repeats),
            ]
        )
    )
