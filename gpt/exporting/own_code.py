"""transformers_code: any stage for the library `transformers`, with its own code beside the weights.

Loading such a folder runs that code, so it needs `trust_remote_code=True`. The code is this package's: modeling_gpt.py,
the stage, and every module that they import, in one flat folder, as the library requires.
"""

import importlib
import inspect
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from tokenizers import Tokenizer
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from gpt.base.errors import RequestError
from gpt.exporting import modeling_gpt
from gpt.exporting.verification import check
from gpt.runs.tensors import serialised
from gpt.session.trained import TrainedRun
from gpt.tasks.continuation import Continuation

_MAIN = modeling_gpt.__name__
_IMPORT = re.compile(rf"^( *)from ({_MAIN.partition('.')[0]}\b[\w.]*) import (\w.*)$", re.MULTILINE)
_STAGE = re.compile(r"^from [\w.]+ import \w+ as Stage.*$", re.MULTILINE)


def export(trained: TrainedRun, folder: Path) -> str:
    """Write the model, its tokenizer and its code, and return what was checked. Raises RequestError, UserError."""
    if not isinstance(trained.task, Continuation):
        raise RequestError("format=transformers_code is for stages that continue a text: use format=hub")
    logging.disable_progress_bar()
    choice, V, block_size = trained.config.model, trained.task.vocab_size, trained.model.block_size
    _write_code(choice.target, folder)
    config = {
        "architectures": ["GPTForCausalLM"],
        "model_type": modeling_gpt.GPTConfig.model_type,
        "auto_map": {"AutoConfig": "modeling_gpt.GPTConfig", "AutoModelForCausalLM": "modeling_gpt.GPTForCausalLM"},
        "vocab_size": V,
        "hyperparameters": choice.hyperparameters,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    GenerationConfig(use_cache=False).save_pretrained(folder)
    weights = {f"model.{name}": tensor for name, tensor in trained.model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(serialised(weights, {"format": "pt"}))
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained.task.as_json()),
        model_max_length=block_size,
        model_input_names=["input_ids"],
    ).save_pretrained(folder)
    loaded = _imported(folder).GPTForCausalLM.from_pretrained(folder).eval()
    checked = check("its own code", lambda idx: [trained.model(idx)], lambda idx: [loaded(idx).logits], V, block_size)
    written = "written with its code, which runs when it is loaded: from_pretrained(..., trust_remote_code=True)"
    return f"{checked}\n{written}"


def _write_code(stage: str, folder: Path) -> None:
    """modeling_gpt.py with this stage, and each module that they import, as files of one folder."""
    modules = [_MAIN]
    for module in modules:  # The list grows in the loop.
        code = inspect.getsource(importlib.import_module(module))
        if module == _MAIN:
            stage_module, _, name = stage.rpartition(".")
            code = _STAGE.sub(f"from {stage_module} import {name} as Stage", code)
        code, imported = _flattened(code)
        (folder / f"{_flat(module)}.py").write_text(code)
        modules += [other for other in dict.fromkeys(imported) if other not in modules]
    with (folder / f"{_flat(_MAIN)}.py").open("a") as main:
        main.write("\n\n# The library copies only files that this one names.\n")
        main.writelines(f"from .{_flat(module)} import __name__ as _\n" for module in sorted(modules[1:]))


def _flattened(code: str) -> tuple[str, list[str]]:
    """A module's code with imports from files beside it instead of this package, and the modules that it imports."""
    imported = []

    def line(found: re.Match[str]) -> str:
        indent, source, names = found[1], found[2], found[3].split(", ")
        lines = []
        for name in names:
            own_name, _, alias = name.partition(" as ")
            if _is_module(module := f"{source}.{own_name}"):
                lines.append(f"{indent}from . import {_flat(module)} as {alias or own_name}")
            else:
                lines.append(f"{indent}from .{_flat(module := source)} import {name}")
            imported.append(module)
        return "\n".join(lines)

    return _IMPORT.sub(line, code), imported


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # The name is something in a module.
        return False


def _flat(module: str) -> str:
    return "modeling_gpt" if module == _MAIN else module.replace(".", "_")


def _imported(folder: Path) -> ModuleType:
    """The code in the folder, as a package of its own for a moment."""
    package = ModuleType(f"_exported_{id(folder)}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    try:
        return importlib.import_module(f"{package.__name__}.{_flat(_MAIN)}")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == package.__name__]:
            del sys.modules[name]
