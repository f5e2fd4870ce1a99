"""Hydra's errors rewritten as one line that says what to do."""

import difflib
import textwrap
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf

from gpt.base.installation import CONF, installing
from gpt.base.keys import flat
from gpt.base.ladder import rank
from gpt.cli.composing import composed, groups

# Common other names of the keys; a name of several keys means the first that the script has.
_ALSO = {
    "learning_rate": "lr max_lr peak_lr base_lr",
    "max_iters": "epochs n_epochs num_epochs max_epochs steps n_steps num_steps max_steps train_steps iters iterations "
    "num_iters train_iters",
    "batch_size": "bs batch",
    "grad_accumulation": "grad_accum accumulate_grad_batches gradient_accumulation_steps",
    "n_layer": "n_layers num_layers layers depth",
    "n_head": "n_heads num_heads heads",
    "n_embd": "d_model n_embed hidden_size hidden_dim embedding_dim dim width",
    "block_size": "context context_length ctx n_ctx seq_len window",
    "weight_decay": "wd",
    "grad_clip": "clip max_norm max_grad_norm gradient_clip_val",
    "warmup_iters": "warmup warmup_steps",
    "final": "min_lr lr_min eta_min min_learning_rate",
    "schedule": "scheduler lr_scheduler lr_schedule",
    "eval_interval": "eval_every eval_freq eval_steps val_interval",
    "log_interval": "log_every",
    "interval": "save_every save_interval",
    "top_k": "topk",
    "top_p": "topp",
    "temperature": "temp",
    "tokens": "max_new_tokens length",
    "num_samples": "n n_samples samples",
    "seed": "random_seed",
    "dtype": "precision amp",
    "data": "dataset corpus",
    "beam": "beams num_beams",
    "out": "output output_dir out_dir save_dir",
    "run": "ckpt checkpoint path out_dir init_from",
    "init": "init_from pretrained",
    "resume": "ckpt checkpoint",
    "runs": "folder",
    "hydra.run.dir": "output output_dir out_dir save_dir",
}

# For each group: a key that lands inside the group when a file lacks its package line, and that line.
PACKAGES = {
    "model": ("adds", "# @package _global_"), "logger": ("_target_", "# @package logger.NAME"),
    "metrics": ("_target_", "# @package metrics.NAME"),
}  # fmt: skip
# The extra that hydra/launcher=NAME needs; hydra/launcher=slurm extends submitit_slurm.
_EXTRA_OF_LAUNCHER = {"joblib": "sweep", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


def explain_composition(error: Exception, config_name: str, typed: list[str], more_keys: Iterable[str] = ()) -> str:
    """Hydra's error about the command line, in one line that names the nearest valid choice.

    `more_keys` are further valid keys, which this configuration does not have.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and name in _EXTRA_OF_LAUNCHER:
            return f"hydra/launcher={name} is not installed: {installing(_EXTRA_OF_LAUNCHER[name])}"
        if error.options:
            return f"{group}={name} does not exist; {group} can be {', '.join(_ordered(group, error.options))}"
    if "@experiment." in str(error):
        return "the file of this experiment lacks the line '# @package _global_' at its top"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} as key=value; quote special characters: key='\"a, b\"'"
    message = " ".join(str(error).split())
    if message.startswith("Error merging override "):
        override = message.removeprefix("Error merging override ")
        return f"{override}: give a value to each key of this group by name, as in training.max_iters=5"
    key = message.split("'")[1] if "'" in message else message
    if message.startswith("Ambiguous value"):
        return f"{key} has several values: add -m for a sweep"
    if message.startswith(("Could not override", "Key", "Could not delete")):
        keys, choices = _keys_and_choices(config_name, typed)
        return _no_such_key(key, [*keys, *more_keys], choices)
    return message


def explain_launch(error: Exception) -> str | None:
    """A job launcher's error in one line; None for any other error."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    library = innermost.f_globals["__name__"].partition(".")[0]
    return f"{library}: {textwrap.shorten(str(error), 400)}" if library in ("submitit", "ray") else None


def _no_such_key(key: str, keys: Iterable[str], choices: Mapping[str, str | None]) -> str:
    """The error line for an unknown key: the choices of its group that have it, or the nearest valid key."""
    if key.startswith("hydra."):
        return f"unknown key {key}; see Hydra's documentation"
    known = [*keys, "hydra.run.dir"]
    group, _, name = key.rpartition(".")
    having = _having(group, name) if group in choices else []
    if having:
        return f"{group}={choices.get(group)} has no key {name}; it is a key of {group}={', '.join(having)}"
    if key in choices:
        return f"{key} needs the name of a file in conf/{key}/, as in {key}={choices[key] or 'NAME'}"
    name = name.replace("-", "_")
    for meant in [name, *(key for key, others in _ALSO.items() if name in others.split())]:
        for full in known:
            if meant in (full, full.rpartition(".")[2]):
                return f"unknown key {key}; did you mean {full}?"
        for group in choices:
            if having := _having(group, meant):
                return f"unknown key {key}; did you mean {group}.{meant}, of {group}={', '.join(having)}?"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown key {key}; " + (f"did you mean {near[0]}?" if near else "--help lists the keys")


def _having(group: str, name: str) -> list[str]:
    """The choices of a group that have this key."""
    having = []
    for choice in _ordered(group, [path.stem for path in (CONF / group).glob("*.yaml")]):
        content: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))
        if name in content.get(group, content):
            having.append(choice)
    return having


def _ordered(group: str, names: Iterable[str]) -> list[str]:
    """The choices of a group: stages in the order of the ladder, others by name."""
    return sorted(names, key=rank if group == "model" else None)


def _keys_and_choices(config_name: str, typed: list[str]) -> tuple[list[str], Mapping[str, str | None]]:
    """The groups, every key that can be set with the choices on this command line, and the choice for each group."""
    known = groups(config_name)
    parsed = [OverridesParser.create().parse_override(a) for a in typed if not a.startswith("-")]
    chosen = [o.input_line or "" for o in parsed if o.key_or_group in known and not o.is_sweep_override()]
    content, settings = composed(config_name, chosen)
    return [*known, *flat(content)], settings["runtime"]["choices"]
