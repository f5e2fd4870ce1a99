"""Corpora as people call them."""

from pathlib import Path

from gpt.base.keys import declared
from gpt.runs.folder import RunFolder

_SAID = {"shakespeare": "tiny Shakespeare", "multi30k": "Multi30k"}
_USUAL_SPLIT = ("train_fraction", 0.9)


def corpus_name(run: RunFolder) -> str:
    """The corpus as people say it, with the values of its loader that are not the usual ones."""
    data = run.config().data
    loader, values = data.target.rpartition(".")[2], data.hyperparameters
    keys = {name: declared(f"data.{name}") for name in values}
    places = [values[name] for name, key in keys.items() if key.names_corpus and values[name]]
    paths = [path for place in places for path in (place if isinstance(place, list) else [place])]
    name = " and ".join(Path(str(path)).name or str(path) for path in paths) or _SAID.get(loader, loader)
    aside = {name for name, key in keys.items() if key.names_corpus or key.splits_tokens or not key.is_said}
    rest = [f"{key}={value}" for key, value in values.items() if key not in aside and (key, value) != _USUAL_SPLIT]
    return ", ".join([name, *rest])
