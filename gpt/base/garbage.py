"""Python's garbage collector, which need not look through what is imported.

Importing PyTorch makes half a million objects, none of which is garbage. Looking through them takes a tenth of a second
while they are imported, and two at the end of the process.
"""

import atexit
import gc


def ignore() -> None:
    """Collect nothing until `collect`, and nothing at the end. For commands, whose process is their own."""
    gc.disable()
    atexit.register(gc.freeze)


def collect() -> None:
    """From now on, collect what has become garbage of the objects that are made now."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
