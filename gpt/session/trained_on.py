"""What a run was trained on: its corpus, known by its digest."""

import contextlib
from collections.abc import Iterable

from gpt import tasks
from gpt.base.errors import RequestError, UnavailableError, UserError
from gpt.config.keys import declared
from gpt.data.corpus import Corpus
from gpt.data.download import nothing_downloaded
from gpt.registry import Choice
from gpt.runs.folder import RunFolder
from gpt.tasks import Stage


def same_corpus(run: RunFolder, stage: Stage, data: Choice, given: Iterable[str] = ()) -> tuple[Choice, Corpus]:
    """The corpus of a run, for its stage, and the loader with the paths where it was found; its digest must match.

    `data` is the run's loader, with the user's own paths for the keys in `given`, such as data.path. Nothing is
    downloaded to a folder that only the run names, because a stranger's run could name any. Raises RequestError if the
    corpus is missing, or has changed since the run was trained.
    """
    places = [data]
    names = [key for key in data.hyperparameters if declared(f"data.{key}").role == "place"]
    if "dir" in names and "data.dir" not in given:
        places = [data, Choice.model_validate(data.model_dump(by_alias=True) | {"dir": None})]
    for place in places:
        is_last = place is places[-1]
        try:
            with contextlib.nullcontext() if is_last else nothing_downloaded():
                corpus = tasks.load_corpus(place, stage)
        except UserError as error:
            if is_last and not isinstance(error, UnavailableError):
                raise
            problem = str(error)
        else:
            if corpus.digest == run.vocabulary().corpus:
                return place, corpus
            problem = f"the corpus is not the one that {run.path} was trained on"
    loader = data.target.rpartition(".")[2]
    advice = f"; if it is elsewhere, add data.{names[0]}=PATH (to train, with data={loader})" if names else ""
    raise RequestError(f"{problem}{advice}")
