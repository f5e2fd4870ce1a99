"""What other programs call things: other names of keys, and words for what takes a key and a value here."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gpt.config.values import Typed, as_typed, parted, unquoted

# Common other names of the keys; a name of several keys means the first that the script has.
_ALSO = {
    "learning_rate": "lr max_lr peak_lr base_lr",
    "max_iters": "steps n_steps num_steps max_steps train_steps iters iterations num_iters train_iters",
    "epochs": "n_epochs num_epochs max_epochs num_train_epochs",
    "seconds": "time timeout max_seconds max_time time_limit budget",
    "batch_size": "bs batch train_batch_size per_device_train_batch_size",
    "grad_accumulation": "grad_accum accumulate_grad_batches gradient_accumulation_steps",
    "n_layer": "n_layers num_layers layers depth",
    "n_head": "n_heads num_heads heads",
    "n_embd": "d_model n_embed hidden_size hidden_dim embedding_dim dim width",
    "block_size": "context context_length ctx n_ctx seq_len window",
    "weight_decay": "wd",
    "beta1": "betas",
    "grad_clip": "clip max_norm max_grad_norm gradient_clip_val",
    "warmup_iters": "warmup warmup_steps",
    "schedule": "scheduler lr_scheduler lr_schedule",
    "eval_interval": "eval_every eval_freq eval_steps val_interval val_check_interval",
    "log_interval": "log_every",
    "interval": "save_every save_interval every save_steps",
    "patience": "early_stopping early_stop early_stopping_patience",
    "top_k": "topk",
    "top_p": "topp nucleus",
    "stop": "stop_sequence stop_sequences stop_strings stop_words eos",
    "temperature": "temp",
    "tokens": "max_new_tokens max_tokens max_length length n_tokens",
    "num_samples": "n n_samples samples num_return_sequences",
    "stage": "model",
    "seed": "random_seed manual_seed",
    "dtype": "precision",
    "data": "dataset corpus",
    "field": "column text_column text_field",
    "beam": "beams num_beams",
    "prompt": "start text input",
    "prompt_file": "file",
    "n_trials": "trials num_trials",
    "metric": "sort sort_by",
    "out": "output output_dir out_dir save_dir",
    "run": "ckpt checkpoint path out_dir init_from",
    "init": "init_from pretrained finetune fine_tune",
    "resume": "ckpt checkpoint resume_from",
    "runs": "folder",
    "hydra.run.dir": "out output output_dir out_dir save_dir run_dir log_dir logdir",
}

# Words of other programs for keys with values of these, or of several keys; VALUE stands for the word's own value.
_MEANING = {
    "device=cuda": "cuda gpu gpus use_gpu use_cuda device=gpu",
    "device=cpu": "cpu no_cuda",
    "device=mps": "mps metal",
    "dtype=bfloat16": "amp fp16 bf16 float16 half mixed_precision bfloat16 dtype=bf16",
    "dtype=float32": "fp32 float32 dtype=fp32",
    "logger=wandb": "wandb wandb_log use_wandb",
    "logger=tensorboard": "tensorboard tb",
    "format=hub": "format=safetensors format=huggingface",
    "resume=auto": "init_from=resume resume=true resume=True",
    "hydra/launcher=joblib hydra.launcher.n_jobs=VALUE": "n_jobs jobs workers num_workers",
    "logger=wandb logger.wandb.project=VALUE": "project wandb_project",
    "data=VALUE": "file text path filename data_path train_file input_file data.file data.text",
    "training.eval_interval=epoch": "eval_every_epoch",
    "training.seconds=VALUEmin": "minutes max_minutes",
    "training.seconds=VALUEh": "hours max_hours",
    "schedule=cosine schedule.final=FRACTION": "min_lr lr_min eta_min min_learning_rate",
}


def by_name(keys: Iterable[str]) -> dict[str, str]:
    """Keys by their other names and by their last part; a name of several keys is that of the first."""
    last_first = list(keys)[::-1]
    parts = {key.rpartition(".")[2]: key for key in last_first}
    others = {
        other: key for key in last_first for other in (_ALSO.get(key) or _ALSO.get(key.rpartition(".")[2], "")).split()
    }
    return others | parts


def translated(key: str, value: Any, names: Mapping[str, str]) -> tuple[str, Any] | None:
    """A setting in this program's words: device=cuda for device=gpu and for cuda=true, and None for cuda=false.

    `names` are those of `by_name`.
    """
    text = unquoted(as_typed(value))
    for meant, others in _MEANING.items():
        (own, value_meant), words = parted(meant), others.split()
        has_value = " " in meant or "VALUE" in meant  # file=0 names a file; only words such as wandb can be false
        is_switch = key in words and key not in names and own in names and not has_value
        if f"{key}={text}" in words or (is_switch and text.lower() in ("true", "1")):
            return own, Typed(value_meant)
        if is_switch and text.lower() in ("false", "0"):
            return None
    return names.get(key, key), value


def meant(word: str, keys: Collection[str]) -> str | None:
    """What a word that is no key stands for: another program's word, a key's last part, or one that is similar."""
    last = word.rpartition(".")[2].replace("-", "_")
    for typed, others in _MEANING.items():
        if not {word, last}.isdisjoint(others.split()) and parted(typed)[0] in keys:
            return typed
    names = by_name(keys)
    if last in names:
        return names[last]
    names = {key: key for key in keys} if "." in word else {key: key for key in keys if "." not in key} | names
    near = difflib.get_close_matches(word.replace("-", "_"), names, n=1, cutoff=0.75)
    return names[near[0]] if near else None
