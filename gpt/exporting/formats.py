"""The formats of an export by name, each with the extra that it needs."""

from pathlib import Path

from gpt.base.command_schemas import ExportFormat
from gpt.base.errors import requiring
from gpt.session.trained import TrainedRun


def export(trained: TrainedRun, format: ExportFormat, folder: Path, *, license: str) -> str:
    """Write the run to the empty `folder`, and return a description of what was checked.

    Raises RequestError if the run cannot be exported in this format or a library is missing, UserError if the export
    does not compute the same as the run.
    """
    if format == "hub":
        with requiring("hub"):
            from gpt.exporting import hub
        return hub.export(trained, folder, license)
    if format == "transformers":
        with requiring("transformers"):
            from gpt.exporting import gpt2
        return gpt2.export(trained, folder)
    if format == "transformers_code":
        with requiring("transformers"):
            from gpt.exporting import own_code
        return own_code.export(trained, folder)
    with requiring("onnx"):
        from gpt.exporting import graphs
    return graphs.export(trained, folder)
