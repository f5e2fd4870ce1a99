"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

import sys
from pathlib import Path

from gpt.base.command_schemas import GenerateConfig
from gpt.base.request import Request


def main(config: GenerateConfig, request: Request) -> None:
    """Print text or translations to standard output, everything else to standard error."""
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.base.errors import RequestError, printable
    from gpt.base.losses import in_words
    from gpt.base.runtime import keep_freed_memory
    from gpt.data.corpus import Text
    from gpt.data.sources import read_text
    from gpt.session.trained import load_run

    if config.prompt is not None and config.prompt_file is not None:
        raise RequestError("give prompt or prompt_file, not both")
    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device=config.device)
    keep_freed_memory(trained.device)
    trained.task.refuse_others(request.given)
    prompt = config.prompt
    if config.prompt_file is not None:
        prompt = read_text(Path(config.prompt_file), errors=trained.task.undecodable)
    corpus = trained.corpus({}) if config.recited else None
    pieces = trained.task.respond(trained.model, prompt, config)
    title = f"{trained.config.stage}, {in_words(trained.which)} of {trained.run.path}"
    written = []
    with trained.runtime.settings():
        for number, piece in enumerate(pieces):
            if number == 0:
                print(printable(title), file=sys.stderr)
            # A terminal would obey control characters of the corpus; a file or another program gets the text itself.
            print(printable(piece, keep="\n\t") if sys.stdout.isatty() else piece, end="", flush=True)
            if corpus is not None:
                written.append(piece.removeprefix(prompt or "") if number == 0 or config.num_samples > 1 else piece)
    if isinstance(corpus, Text):
        whole = written if config.num_samples > 1 else ["".join(written)]
        samples = [sample.rstrip("\n") for sample in whole]
        print(printable(_recited(samples, "".join(corpus.training_texts()))), file=sys.stderr)


def _recited(samples: list[str], text: str) -> str:
    """How much of the samples stands in the training text, in words."""
    from gpt.data.overlap import RECITED, recited

    found = [recited(sample, text) for sample in samples]
    share = sum(count for count, _ in found) / max(1, sum(map(len, samples)))
    longest = max((passage for _, passage in found), key=len)
    return (
        f"recited: {share:.1%} of the characters, in passages of {RECITED} or more that stand in the training text; "
        f"the longest passage of any length has {len(longest)}: {longest!r}"
    )
