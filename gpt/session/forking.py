"""Forking: a new run that starts from the weights, vocabulary and settings of another run."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gpt.base.choices import Choice
from gpt.base.errors import RequestError
from gpt.base.files import sha256
from gpt.base.schema import TrainConfig
from gpt.runs.corpus_files import located
from gpt.runs.folder import RunFolder
from gpt.runs.records import Parent
from gpt.runs.weights import Saved, load_weights, selected

_INHERITED = ("model", "data", "optimizer", "schedule", "training")


@dataclass(frozen=True)
class Fork:
    """The weights that a new run starts from."""

    run: RunFolder
    which: Saved
    record: Parent

    @classmethod
    def of(cls, path: Path) -> "Fork":
        """A fork of the run in the folder `path`, from its averaged weights if it has any, else from its best."""
        if not (path / "config.yaml").exists():
            raise RequestError(f"init={path}: not a run folder")
        run = RunFolder(path)
        which = selected(run, "auto")
        weights = run.weights(which)
        if not weights.exists():
            raise RequestError(f"init={path}: the run has no weights yet")
        iterations = run.metrics()[-1].iteration
        stage, digest = run.config().stage, sha256(weights)
        return cls(run, which, Parent(run=str(path), stage=stage, iterations=iterations, weights=which, sha256=digest))

    def load(self, model: nn.Module) -> None:
        """Load the weights. Raises UserError if they are damaged or have other shapes."""
        load_weights(self.run, model, self.which)

    def config(self, wanted: TrainConfig, given: Collection[str]) -> TrainConfig:
        """The configuration of the new run: the parent's model, data and training, except for the `given` keys.

        Raises RequestError for another stage, which has other weights.
        """
        parent = self.run.config()
        for group in ("experiment", "debug"):
            if group in given:
                raise RequestError(
                    f"init= takes its settings from another run, and {group}= sets its own: give only one of them"
                )
        if "model" in given and wanted.stage != parent.stage:
            raise RequestError(f"init={self.record.run} is a run of {parent.stage}, not of {wanted.stage}: omit model=")
        content, old = wanted.content(), parent.content()
        content |= {key: old[key] for key in ("stage", "adds", "documented")}
        for group in _INHERITED:
            if group != "model" and group in given:
                continue  # replaced as a whole, with all its values
            own = {key: content[group][key] for key in _keys_in(group, given) if key in content[group]}
            content[group] = old[group] | own
        if "data" not in given:
            data = Choice.model_validate(content["data"])
            where = located(data, self.run.vocabulary().files, wanted.data.hyperparameters, given)
            content["data"] = where.model_dump(by_alias=True)
        return TrainConfig.model_validate(content | {"resume": wanted.resume})


def _keys_in(group: str, given: Collection[str]) -> list[str]:
    return [key.removeprefix(f"{group}.") for key in given if key.startswith(f"{group}.")]
