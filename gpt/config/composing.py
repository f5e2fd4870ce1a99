"""What conf/ has: its groups, their choices, what a stage sets, and configurations composed without running a job."""

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser import types
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from gpt.base.installation import CONF
from gpt.base.ladder import rank
from gpt.base.typed import in_quotes
from gpt.config.keys import declared, flat, written
from gpt.config.override import Override

VERSION: Any = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}  # 1.4 has no such argument
_COMPOSING = threading.RLock()


def parsed(overrides: Iterable[object]) -> list[types.Override]:
    """Parse overrides with the grammar of the running Hydra, which resolves glob(), and with exact ranges.

    The decimals of Hydra's own are sums of binary fractions.
    """
    functions = create_functions()
    functions.functions["range"] = _range
    del functions.functions["sort"]  # Hydra's yields other numbers than those of a range
    return OverridesParser(functions, GlobalHydra.instance().config_loader()).parse_overrides([*map(str, overrides)])


def _range(start: float, stop: float | None = None, step: float = 1) -> RangeSweep | ChoiceSweep:
    start, stop = (0, start) if stop is None else (start, stop)
    if not all(map(math.isfinite, (start, stop, step))) or not step:
        raise ValueError("a range has finite numbers, and a step other than 0")
    if all(isinstance(number, int) for number in (start, stop, step)):
        return RangeSweep(start=start, stop=stop, step=step)
    first, end, by = (Decimal(str(number)) for number in (start, stop, step))  # as typed
    count = max(0, math.ceil((end - first) / by))
    return ChoiceSweep(list=[float(first + i * by) for i in range(count)])


def sweeper_params(settings: Any) -> list[Override]:
    """An experiment's sweep or search ranges as overrides, from Hydra's settings."""
    return [Override(key, str(value)) for key, value in (settings.sweeper.params or {}).items()]


def settings_with(choice: str, folders: Sequence[Path] = ()) -> Any:
    """Hydra's settings with this choice, such as experiment=heads, also from these folders. Raises HydraException."""
    return hydra.compose("train", [choice, *search_path(folders)], return_hydra_config=True).hydra


def search_path(folders: Sequence[str | Path]) -> list[str]:
    """The override that has Hydra look for choices in these folders, too."""
    sources = ",".join(in_quotes(f"file://{folder}") for folder in folders)
    return [f"hydra.searchpath=[{sources}]"] if folders else []


def groups(config_name: str) -> list[str]:
    """The groups of a configuration, model first, because users choose it first; conf/hydra/ holds Hydra's own."""
    folders = {path.name for path in CONF.iterdir() if path.is_dir() and config_name in ("train", path.name)}
    return sorted(folders - {"hydra"}, key=lambda group: (group != "model", group))


def choices_of(group: str) -> list[str]:
    """The choices of a group: stages in the order of the ladder, others by name."""
    names = [path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml")]
    return sorted(names, key=rank if group == "model" else None)


def is_for_users(key: str) -> bool:
    """Whether a user sets this key; the others are set by model=NAME and other choices."""
    return declared(key).role != "stated" and not key.endswith("._target_")


@contextmanager
def own_configuration() -> Iterator[None]:
    """Compose from the project's conf/, outside the Hydra job if there is one; all threads share Hydra's state."""
    with _COMPOSING:
        running = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with hydra.initialize_config_dir(str(CONF), **VERSION):
                yield
        finally:
            GlobalHydra.instance().hydra = running  # of the instance that Hydra restores, which is a copy


@contextmanager
def composed_tree(overrides: list[str]) -> Iterator[tuple[DictConfig, Any]]:
    """conf/train.yaml with these overrides, and Hydra's settings, to which `${hydra:...}` refers in the context.

    Raises HydraException for overrides that cannot be composed.
    """
    tree = hydra.compose("train", overrides, return_hydra_config=True)
    job, settings = HydraConfig.instance(), tree.hydra
    before = job.cfg
    job.set_config(tree)
    OmegaConf.set_struct(tree, False)
    del tree["hydra"]
    try:
        yield tree, settings
    finally:
        job.cfg = before


def composed(config_name: str, overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compose conf/<config_name>.yaml with these overrides, or without if that fails; return Hydra's settings too."""
    with own_configuration():
        try:
            config = hydra.compose(config_name, overrides, return_hydra_config=True)
        except (HydraException, ValueError, TypeError, yaml.YAMLError):  # a sweep, a mistake, or a user's --config-dir
            config = hydra.compose(config_name, return_hydra_config=True)
    content: Any = OmegaConf.to_container(config)
    settings = content.pop("hydra")
    return content, settings


def settings_of(stage: str, folders: Sequence[Path] = (CONF,)) -> list[str]:
    """The choices and keys that model/<stage>.yaml sets beyond the model, as key=value; values are as typed.

    The file is in the first of the folders that has one; [] if none has.
    """
    path = next((path for folder in folders if (path := folder / "model" / f"{stage}.yaml").is_file()), None)
    if path is None:
        return []
    content = written(path)
    choices: list[str] = []
    below: list[str] = []
    for default in content.pop("defaults", []):
        if isinstance(default, str) and default != "_self_":  # another stage, which this one changes
            below += settings_of(default, folders)
        elif isinstance(default, dict):
            choices += [f"{key.removeprefix('override ').lstrip('/')}={name}" for key, name in default.items()]
    others = {key: value for key, value in content.items() if key != "model" and declared(key).role != "stated"}
    own = {Override.parse(setting).key: setting for setting in [*below, *choices]}
    return list((own | {key: f"{key}={value}" for key, value in flat(others).items()}).values())
