"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

import sys
from pathlib import Path

import torch

from gpt import cli
from gpt.config import GenerateConfig
from gpt.corpus import read_text
from gpt.device import select_device
from gpt.errors import RequestError
from gpt.packing import packed
from gpt.runs import RunFolder, finished_runs
from gpt.sampling import default_prompt, generate


def main(config: GenerateConfig) -> None:
    """Text to standard output, everything else to standard error."""
    if config.prompt is not None and config.prompt_file is not None:
        raise RequestError("give prompt or prompt_file, not both")
    run = RunFolder(Path(config.run)) if config.run is not None else finished_runs(Path(config.runs))[-1][0]
    tokenizer, model = run.tokenizer(), run.load_model(config.weights)
    model = packed(model.to(select_device(config.device)), getattr(torch, config.dtype))

    prompt = config.prompt if config.prompt_file is None else read_text(Path(config.prompt_file))
    if prompt == "":
        raise RequestError("the prompt is empty: give at least one character, or leave it out")
    ids = tokenizer.encode(default_prompt(tokenizer) if prompt is None else prompt)
    print(f"{run.config().stage}, {config.weights} weights of {run.path}", file=sys.stderr)
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


if __name__ == "__main__":
    cli.main(main, GenerateConfig, "generate", verbatim=("prompt", "prompt_file", "run"))
