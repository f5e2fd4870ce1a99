"""Configurations composed without running a job."""

from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gpt.base.installation import CONF

VERSION: Any = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}  # 1.4 has no such argument


def parsed(overrides: list[str]) -> list[Override]:
    """Parse overrides with the grammar of the running Hydra, which resolves glob()."""
    return OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(overrides)


def sweeper_params(settings: Any) -> list[str]:
    """An experiment's sweep or search ranges as overrides, from Hydra's settings."""
    return [f"{key}={value}" for key, value in (settings.sweeper.params or {}).items()]


def groups(config_name: str) -> list[str]:
    """The groups of a configuration, model first, because users choose it first; conf/hydra/ holds Hydra's own."""
    folders = {path.name for path in CONF.iterdir() if path.is_dir() and config_name == "train"}
    return sorted(folders - {"hydra"}, key=lambda group: (group != "model", group))


def composed(config_name: str, overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compose conf/<config_name>.yaml with these overrides, or without if that fails; return Hydra's settings too."""
    with hydra.initialize_config_dir(str(CONF), **VERSION):
        try:
            config = hydra.compose(config_name, overrides, return_hydra_config=True)
        except (HydraException, ValueError, TypeError, yaml.YAMLError):  # a sweep, a mistake, or a user's --config-dir
            config = hydra.compose(config_name, return_hydra_config=True)
    content: Any = OmegaConf.to_container(config)
    settings = content.pop("hydra")
    return content, settings
