"""A run as one file of plain PyTorch: the page of its stage in plain/, with the settings of the run."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gpt.base.errors import RequestError, UserError
from gpt.base.installation import PLAIN, TINY_SHAKESPEARE
from gpt.config.keys import flat, format_setting
from gpt.config.values import parted
from gpt.data.corpus import TextCorpus
from gpt.data.tables import is_table
from gpt.exporting.verification import check
from gpt.tasks.decoding.sampling import default_prompt

if TYPE_CHECKING:
    from gpt.session.trained import TrainedRun

# The constants of the pages for keys that may have other values.
CONSTANTS = {
    "seed": "SEED",
    "training.batch_size": "B",
    "model.block_size": "T",
    "model.n_embd": "C",
    "model.head_size": "D",
    "model.n_head": "H",
    "model.n_layer": "L",
    "model.dropout": "P",
    "training.learning_rate": "LEARNING_RATE",
    "training.max_iters": "ITERATIONS",
    "training.eval_interval": "EVAL_INTERVAL",
    "training.eval_iters": "EVAL_ITERS",
}
_SAID = {*CONSTANTS, "training.epochs", "data", "data.path"}
# A page gives a run's weights bit for bit with these values of keys that do not tell runs apart, and without _EXCLUDED.
_NEEDED = {"training.grad_accumulation": 1, "compile": False, "device": "cpu", "dtype": "float32"}
_EXCLUDED = {"training.eval_interval": "epoch", "model.dropout": 0}

_TRAINS = "python {} [ITERATIONS] trains the weights of the run that it was exported from, bit for bit."


def export(trained: "TrainedRun", folder: Path) -> str:
    """Write the file, and return what was checked. Raises RequestError for a run that no page trains, UserError."""
    config, page = trained.config, PLAIN / f"{trained.config.stage}.py"
    if not page.is_file() or "\noptimizer = torch.optim.AdamW(" not in page.read_text():  # v8's has two of its own.
        raise RequestError(f"format=script is for v1 to v7, and this is a run of {config.stage}")
    summary = trained.summary
    settings = flat(config.content()) | {"device": summary.device, "dtype": summary.dtype}
    texts = {"data=text": settings.get("data.path"), "data=shakespeare": str(TINY_SHAKESPEARE)}
    unsaid = [c for c in summary.changes if c not in summary.changed or parted(c)[0] not in _SAID]
    if (optimizer := config.optimizer.target.rpartition(".")[2]) != "AdamW":
        unsaid.append(f"optimizer={optimizer}")
    if summary.skipped:
        unsaid.append(f"{summary.skipped} skipped updates")
    unsaid += [format_setting(key, settings[key]) for key, value in _NEEDED.items() if settings[key] != value]
    unsaid += [format_setting(key, value) for key, value in _EXCLUDED.items() if settings.get(key) == value]
    corpus = next((c for c in summary.changed if parted(c)[0] == "data"), "data=shakespeare")
    text = texts.get(corpus)
    if not isinstance(text, str):
        unsaid.append(f"{corpus} of several files" if corpus in texts else corpus)
    if unsaid:
        raise RequestError(f"format=script cannot say {', '.join(dict.fromkeys(unsaid))}")
    path = Path(str(text)).absolute()
    if not path.is_file():
        raise RequestError(f"format=script needs the text of the run in one file, which {text} is not")
    if is_table(path):
        raise RequestError(f"format=script is for a plain text, and {text} is a table")
    values = {name: settings[key] for key, name in CONSTANTS.items() if key in settings}
    source = with_constants(page.read_text(encoding="utf-8"), values | {"TEXT": f"Path({str(path)!r})"})
    source = source.replace('index("\\n")', f"index({default_prompt(trained.tokenizer)!r})")
    source = re.sub(r"^python plain/.*", _TRAINS.format(page.name), source, flags=re.MULTILINE)
    file = folder / page.name
    file.write_text(source, encoding="utf-8")
    return _checked(trained, source, file)


def with_constants(source: str, values: dict[str, object]) -> str:
    """A page with other values of its constants."""
    for name, value in values.items():
        pattern = rf"^({name} = (?:int\(.* else )?)(?:Path\(.*|[^ \n]+)"
        if found := re.search(pattern, source, re.MULTILINE):
            source = f"{source[: found.end(1)]}{value}{source[found.end() :]}"
    return source


def _checked(trained: "TrainedRun", source: str, file: Path) -> str:
    """Compare the model of the file, with the weights of the run, with the run's."""
    names: dict[str, Any] = {"__file__": str(file), "__name__": file.stem}
    given, sys.argv = sys.argv, [str(file)]  # The file reads sys.argv.
    try:
        exec(compile(source.partition("torch.manual_seed(SEED)")[0], file, "exec"), names)
    finally:
        sys.argv = given
    text, cut = names["text"], names["cut"]
    if TextCorpus(text[:cut], text[cut:]).digest != trained.run.vocabulary().corpus:
        raise UserError(f"{names['TEXT']} is not the text that the run was trained on, or has a byte order mark")
    *_, kind = (found for found in names.values() if isinstance(found, type) and issubclass(found, nn.Module))
    model = kind()
    with torch.no_grad():
        for own, weights in zip(model.parameters(), trained.model.parameters(), strict=True):
            own.copy_(weights)
    V, T = names["V"], trained.model.block_size
    return check("the file's model", lambda idx: [trained.model(idx)], lambda idx: [model(idx)], V, T)
