"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from gpt import cli
from gpt.config import GenerateConfig
from gpt.corpus import lines_of, read_text
from gpt.device import select_device
from gpt.errors import RequestError
from gpt.packing import packed
from gpt.runs import chosen_run
from gpt.sampling import default_prompt, generate
from gpt.tokenizer import CharTokenizer

if TYPE_CHECKING:
    from gpt.subwords import Subwords


def main(config: GenerateConfig) -> None:
    """Text or translations to standard output, everything else to standard error."""
    if config.prompt is not None and config.prompt_file is not None:
        raise RequestError("give prompt or prompt_file, not both")
    run = chosen_run(config.run, config.runs)
    tokenizer, model = run.tokenizer(), run.load_model(config.weights)
    model.to(select_device(config.device))
    title = f"{run.config().stage}, {config.weights} weights of {run.path}"
    prompt = config.prompt if config.prompt_file is None else read_text(Path(config.prompt_file))
    if isinstance(tokenizer, CharTokenizer):
        _continue(packed(model, getattr(torch, config.dtype)), tokenizer, prompt, config, title)
    else:
        _translate(model, tokenizer, prompt, config, title)


def _continue(
    model: nn.Module, tokenizer: CharTokenizer, prompt: str | None, config: GenerateConfig, title: str
) -> None:
    if prompt == "":
        raise RequestError("the prompt is empty: give at least one character, or leave it out")
    ids = tokenizer.encode(default_prompt(tokenizer) if prompt is None else prompt)
    print(title, file=sys.stderr)
    steps = generate(model, ids, config)
    if config.num_samples == 1:  # as it comes
        print(prompt or "", end="", flush=True)
        for step in steps:
            print(tokenizer.decode(step), end="", flush=True)
        print()
        return
    samples = zip(*(step.tolist() for step in steps), strict=True)  # decoded side by side, so printed when all are done
    for number, sample in enumerate(samples, start=1):
        print(f"sample {number} of {config.num_samples}", file=sys.stderr, flush=True)
        print(prompt or "", tokenizer.decode(sample), sep="", end="\n\n", flush=True)


def _translate(model: nn.Module, tokenizer: "Subwords", prompt: str | None, config: GenerateConfig, title: str) -> None:
    """A line for a line; without a prompt, those of standard input as they come."""
    from gpt.translation import translate

    if prompt is not None:
        if not prompt.strip():
            raise RequestError("the prompt is empty: give at least a word")
        tokenizer.refuse_unknown(prompt.replace("\n", " ").replace("\r", " "))
        found = translate(model, tokenizer, lines_of(prompt), config)
        print(title, file=sys.stderr)
        print(*found, sep="\n")
        return
    print(title, file=sys.stderr)
    if sys.stdin.isatty():
        print("one sentence a line; Ctrl-D ends", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            sentence = line.decode().strip()
        except UnicodeDecodeError as error:
            raise RequestError(f"line {number} of standard input is not UTF-8: {error.reason}") from None
        tokenizer.refuse_unknown(sentence)
        print(translate(model, tokenizer, [sentence], config)[0], flush=True)


if __name__ == "__main__":
    cli.main(main, GenerateConfig, "generate", verbatim=("prompt", "prompt_file", "run"))
