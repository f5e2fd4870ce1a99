"""Corpora as people call them."""

from pathlib import Path

from gpt.runs.folder import RunFolder

_PLACES = ("path", "files", "name", "source", "target")  # where a loader finds its texts
_SAID = {"shakespeare": "tiny Shakespeare", "multi30k": "Multi30k"}
_USUAL_SPLIT = ("train_fraction", 0.9)
# Neither where a corpus is nor into which tokens it was split.
_ASIDE = (*_PLACES, "dir", "separator", "field", "split", "subset", "tokenizer", "vocab_size")


def corpus_name(run: RunFolder) -> str:
    """The corpus as people say it, with the values of its loader that are not the usual ones."""
    data = run.config().data
    loader, values = data.target.rpartition(".")[2], data.hyperparameters
    places = [value for key in _PLACES if (value := values.get(key))]
    paths = [path for place in places for path in (place if isinstance(place, list) else [place])]
    name = " and ".join(Path(str(path)).name or str(path) for path in paths) or _SAID.get(loader, loader)
    rest = {key: value for key, value in values.items() if key not in _ASIDE and (key, value) != _USUAL_SPLIT}
    return ", ".join([name, *(f"{key}={value}" for key, value in rest.items())])
