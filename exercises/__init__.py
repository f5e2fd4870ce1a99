"""Exercises of the course: files with blanks to fill in, and answers that say what is right and what is wrong.

    python -m exercises              the exercises, and how far you are
    python -m exercises v2           check exercises/v2.py, as `python exercises/v2.py` does
    python -m exercises v2 --hint    a hint for what is still missing; again, for one that says more
    python -m exercises v2 --train   train it, once it is right
    python -m exercises v2 students/*.py   a line for each of these files

In a notebook, check what you have defined there:

    import exercises
    exercises.check("v2", Head)

To check an exercise, its file is run. It is your own program, and can do what your programs can do.
docs/course/exercises.md tells more.
"""

import sys
from pathlib import Path
from typing import Any

from exercises.checks.reports import Report, check

BLANK: Any = ...  # to be replaced

__all__ = ["BLANK", "Report", "check"]

_script = Path(getattr(sys.modules["__main__"], "__file__", None) or "__main__.py").resolve()
if _script.parent == Path(__file__).parent and _script.stem != "__main__":  # python exercises/v2.py
    from exercises.__main__ import main

    sys.argv[1:] = [_script.stem, *sys.argv[1:]]
    sys.exit(main())
