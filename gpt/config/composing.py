"""Configurations: Hydra composes the choices of conf/, the settings are put into the result, the schema checks it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gpt.base.commands import COMMANDS
from gpt.base.errors import RequestError
from gpt.base.installation import CONF
from gpt.config.command import Command
from gpt.config.conf import OWN_PLACES, groups, is_choice, is_for_users
from gpt.config.explaining import explained, unknown_choice, unknown_key
from gpt.config.fields import fields_of, kind_of_field, put
from gpt.config.keys import LENGTHS, check_one_length, choice_groups, flat, parameters
from gpt.config.schema import SETTING_FILES, TrainConfig
from gpt.config.values import Typed, as_typed, in_quotes, is_text, read, unquoted
from gpt.registry import user_choice

VERSION: Any = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}  # 1.4 has no such argument
# A key that is in a group itself if a file of it lacks its package line (None: any), and where its keys belong.
_PACKAGES = {
    "model": ("adds", "_global_"),
    "logger": ("_target_", "logger.NAME"),
    "metrics": ("_target_", "metrics.NAME"),
    "experiment": (None, "_global_"),
    "debug": (None, "_global_"),
}
_HYDRA = threading.RLock()  # its state is of the whole process
_composed: dict[tuple[str, ...], DictConfig] = {}  # conf/ stays as it is while a program runs


def compose(command: Command) -> TrainConfig:
    """The configuration that a command of train.py asks for.

    Raises RequestError for what cannot be composed, and RequestError or pydantic.ValidationError for wrong values.
    """
    if "stage" in command.settings:
        raise RequestError(f"stage={command.settings['stage']} is set by model=NAME; do not set it yourself")
    content = content_of(command)
    check_one_length(command.given, flat(content))
    return TrainConfig.model_validate(content)


def content_of(command: Command) -> dict[str, Any]:
    """The same as plain dictionaries, not checked yet."""
    with composition(command) as written:
        settings = _objects(command, _of_run(written, command))
        texts = {key for key in settings if is_text(kind_of(key, _of_run(written, command)))}
        for key, value in settings.items() if command.run is None else ():
            put(written, key, "" if key in texts else value)  # a file may refer to it; a text is no reference itself
        try:
            resolved: Any = OmegaConf.to_container(OmegaConf.create(written), resolve=True, throw_on_missing=True)
        except MissingMandatoryValue as error:
            raise RequestError(f"{error.full_key} is required: add {error.full_key}=VALUE") from error
        except OmegaConfBaseException as error:
            raise RequestError(f"{error.full_key}: {str(error).partition(chr(10))[0]}") from error
    content = _of_run(resolved, command)
    for key, value in settings.items():
        if command.run is not None or key in texts:
            put(content, key, value)
    return content


@contextmanager
def composition(command: Command) -> Iterator[dict[str, Any]]:
    """What the command's choices set, with references not resolved; Hydra's settings are active in the context.

    Raises RequestError for choices that do not exist or do not fit together.
    """
    own = {group: found for group in ("model", "optimizer", "schedule") if (found := _user_choice(group, command))}
    words = [hydra_word(key, value) for key, value in command.settings.items() if is_choice(key) and key not in own]
    if command.folders:
        words.append(f"hydra.searchpath=[{','.join(in_quotes(f'file://{folder}') for folder in command.folders)}]")
    with own_hydra(command.foreign):
        if (key := (command.foreign or "", *words)) not in _composed:
            with explained():
                _composed[key] = hydra.compose("train", words, return_hydra_config=True)
        job = HydraConfig.instance()
        before = job.cfg
        job.set_config(_composed[key])  # files refer to it, as in ${hydra:runtime.choices.model}
        try:
            content: Any = OmegaConf.to_container(_composed[key])
            del content["hydra"]
            _check_packages(content)
            yield {**content, **{key: value for node in own.values() for key, value in node.items()}}
        finally:
            job.cfg = before


def settings_of_hydra(command: Command) -> Any:
    """Hydra's own settings, such as the mode and the choices, after the command's choices."""
    with composition(command):
        return HydraConfig.get()


@contextmanager
def own_hydra(folder: str | None = None) -> Iterator[None]:
    """Compose from conf/, or another folder, beside a Hydra that runs: all threads share its state."""
    with _HYDRA:
        running = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with hydra.initialize_config_dir(str(Path(folder).absolute() if folder else CONF), **VERSION):
                yield
        finally:
            GlobalHydra.instance().hydra = running  # of the instance that Hydra restores, which is a copy


def _user_choice(group: str, command: Command) -> dict[str, Any] | None:
    """What code of one's own sets, if the command names some for this group."""
    typed = command.settings.get(group)
    name = unquoted(typed) if isinstance(typed, Typed) else typed
    is_file = any(
        (Path(folder) / group / f"{name}.yaml").is_file() for folder in (*command.folders, command.foreign or CONF)
    )
    return None if typed is None or is_file else user_choice(group, name)


def hydra_word(key: str, value: Any) -> str:
    """A choice for Hydra: quotes keep a name together, and none of several is []."""
    if key not in groups():
        return f"++{key}={value}" if key.startswith("hydra.") else f"{key}={value}"  # it need not be in conf/
    several = key in (*choice_groups(several=True), *SETTING_FILES)
    names = read(value, list[str] | None if several else str | None) if isinstance(value, Typed) else value
    quoted = [in_quotes(str(name)) for name in (names if isinstance(names, list) else [names]) if name is not None]
    if not several and len(quoted) != 1:
        raise RequestError(unknown_choice(key, as_typed(value)))
    return f"{key}=[{','.join(quoted)}]" if several else f"{key}={quoted[0]}"


def _of_run(content: dict[str, Any], command: Command) -> dict[str, Any]:
    """The content of the run's configuration, if one was given, except for other choices; what it lacks stays."""
    if command.run is None:
        return content
    typed = {*command.settings}
    stated = {"stage", "adds", "documented"} if "model" in typed else set()
    is_kept = {key for key in typed if _target(content.get(key)) == _target(command.run.get(key)) is not None}
    own = {key: value for key, value in command.run.items() if key not in (typed | stated) - is_kept}
    found = content | own
    found["training"] = content["training"] | own["training"]
    is_decided = any(own["training"].get(key.partition(".")[2]) is not None for key in LENGTHS[1:])
    for key in LENGTHS if not typed.isdisjoint(LENGTHS) else LENGTHS[: 1 * is_decided]:
        name = key.partition(".")[2]
        found["training"][name] = content["training"][name]
    return found


def _target(choice: Any) -> Any:
    return choice.get("_target_") if isinstance(choice, dict) else None


def _objects(command: Command, content: dict[str, Any]) -> dict[str, Any]:
    """The values of the settings, each read by the type of its key. Raises RequestError for an unknown key."""
    found = {}
    for key, value in command.settings.items():
        if is_choice(key) or key in OWN_PLACES:
            continue
        if (kind := kind_of(key, content)) is None:
            choices = {group: HydraConfig.get().runtime.choices.get(group) for group in groups()}
            own = fields_of(COMMANDS[command.name].load_schema())
            known = [*(own if command.name == "search" else ()), *filter(is_for_users, flat(content))]
            raise RequestError(unknown_key(key, value, [*groups(), *known, *OWN_PLACES, "hydra/launcher"], choices))
        found[key] = read(value, kind) if isinstance(value, Typed) else value
    return found


def kind_of(key: str, content: Mapping[str, Any]) -> Any:
    """The type of a key, by the schema or by what the choices of `content` take; None if there is no such key."""
    if field := fields_of(TrainConfig).get(key):
        return kind_of_field(field)
    group, _, name = key.partition(".")
    choice: Any = content.get(group) if group in groups() else None
    if group in choice_groups(several=True):
        inner, _, name = name.rpartition(".")
        choice = (choice or {}).get(inner, {"_target_": None, name: None})
    if not isinstance(choice, dict) or not name:
        return None
    taken = parameters(group, str(choice.get("_target_"))).get(name)
    return taken.annotation if taken else Any if name in choice else None


def _check_packages(content: Mapping[str, Any]) -> None:
    """Raise RequestError if a file lacks the line that says where its keys belong."""
    for group, (stray, package) in _PACKAGES.items():
        if isinstance(found := content.get(group), dict) and (stray is None or stray in found):
            raise RequestError(f"the file of this {group} lacks the line '# @package {package}' at its top")
