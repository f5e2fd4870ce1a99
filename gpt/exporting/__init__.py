"""Exports: a run in a form that other programs read, one format a module.

Each is compared with the run before it is called done, and one that fails leaves nothing behind.
"""

from pathlib import Path
from typing import Literal

from gpt.errors import requiring
from gpt.trained import Trained


def export(trained: Trained, format: Literal["hub", "transformers", "onnx"], folder: Path, *, license: str) -> str:
    """Write the run into the empty `folder` and return what was checked, in words.

    Raises RequestError if the run cannot be exported in this format or a library is missing, UserError if the export
    does not compute what the run does.
    """
    if format == "hub":
        with requiring("hub"):
            from gpt.exporting import hub
        return hub.export(trained, folder, license)
    if format == "transformers":
        with requiring("transformers"):
            from gpt.exporting import gpt2
        return gpt2.export(trained, folder)
    with requiring("onnx"):
        from gpt.exporting import graphs
    return graphs.export(trained, folder)
