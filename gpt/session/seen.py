"""What of a split or a text a run was trained on, or a run that its weights come from, as far as that is known."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gpt.base.errors import UserError
from gpt.base.files import sha256
from gpt.base.losses import Seen
from gpt.data.corpus import Corpus
from gpt.data.download import nothing_downloaded
from gpt.runs.folder import RunFolder
from gpt.session.continuing import same_corpus
from gpt.tasks import Stage, Task

_GENERATIONS = 100  # that are looked at


def seen_in_training(
    run: RunFolder, task: Task, corpus: Corpus, split: str, stage: Stage, what: str | None = None
) -> Seen | None:
    """What of a split of `corpus` the run, or one before it, was trained on; None if nothing is known to be.

    The corpora of these runs are compared with it, where they still are; nothing is downloaded. `what` names the split.
    """
    what = what or f"{'validation' if split == 'val' else split} split"
    digest, found = corpus.digest, list[Seen]()
    for earlier in _lineage(run):
        with contextlib.suppress(UserError, OSError), nothing_downloaded():
            if earlier.vocabulary().corpus != digest:
                trained_on = same_corpus(earlier, stage, earlier.config().data)[1]
                count, of, unit = task.shared(split, corpus, trained_on)
                found += [Seen(run=str(earlier.path), what=what, count=count, of=of, unit=unit)] if count else []
            elif (parent := earlier.parent()) and parent.seen and parent.seen.what == what:  # of the same split
                found.append(parent.seen)
    return max(found, key=lambda seen: seen.count, default=None)


def _lineage(run: RunFolder) -> Iterator[RunFolder]:
    """The run, the one whose weights it started from, and so on, as long as they are where they were."""
    for _ in range(_GENERATIONS):
        yield run
        try:
            parent = run.parent()
            if parent is None:
                return
            run = RunFolder(Path(parent.run))
            if run.vocabulary().corpus != parent.corpus and sha256(run.weights(parent.weights)) != parent.sha256:
                return
        except UserError:
            return
