"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from gpt.config.command_schemas import GenerateConfig
from gpt.config.request import Request

_FORMATS = (".txt", ".jsonl")


def main(config: GenerateConfig, request: Request) -> None:
    """Print text or translations to standard output or a file, and everything else to standard error."""
    # Imported here so that --help and tab completion do not pay for importing torch, which takes a second.
    from gpt.base.errors import RequestError
    from gpt.base.files import check_output
    from gpt.base.losses import in_words
    from gpt.base.runtime import keep_freed_memory
    from gpt.data.records import read_text
    from gpt.session.trained import load_run
    from gpt.tasks import Continuation

    if config.prompt is not None and config.prompt_file is not None:
        raise RequestError("give prompt or prompt_file, not both")
    if config.out is not None:  # before the model is loaded
        check_output(Path(config.out), _FORMATS)
    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device=config.device)
    keep_freed_memory(trained.device)
    trained.task.refuse_others(request.given)
    prompt = config.prompt
    if config.prompt_file is not None:
        prompt = read_text(Path(config.prompt_file), errors=trained.task.undecodable)
    elif prompt is None and isinstance(trained.task, Continuation):
        prompt = _piped()
    pieces = trained.task.respond(trained.model, prompt, config)
    title = f"{trained.config.stage}, {in_words(trained.which)} of {trained.run.path}"
    with trained.runtime.settings():
        written = list(_shown(pieces, title, is_printed=config.out is None))
    samples = [text.removesuffix("\n\n") for text in written] if config.num_samples > 1 else ["".join(written)[:-1]]
    if config.out is not None:
        _write(samples, prompt, config)


def _shown(pieces: Iterator[str], title: str, *, is_printed: bool) -> Iterator[str]:
    """The pieces, printed one by one below the title."""
    from gpt.base.errors import printable

    for number, piece in enumerate(pieces):
        if number == 0:
            print(printable(title), file=sys.stderr)
        if is_printed:
            # A terminal would obey control characters of the corpus; a file or another program gets the text itself.
            print(printable(piece, keep="\n\t") if sys.stdout.isatty() else piece, end="", flush=True)
        yield piece


def _write(samples: list[str], prompt: str | None, config: GenerateConfig) -> None:
    """Write the samples, which begin with the prompt: as lines of JSON, or as text."""
    from gpt.base.errors import printable
    from gpt.base.files import write_atomically

    path = Path(str(config.out))
    if path.suffix.lower() == ".jsonl":
        content = "".join(json.dumps({"prompt": prompt, "text": sample}) + "\n" for sample in samples)
    else:
        dashes = "---"
        while any(dashes in sample for sample in samples):
            dashes += "-"
        content = f"\n{dashes}\n".join(samples) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    print(printable(f"written: {path}"), file=sys.stderr)


def _piped() -> str | None:
    """The text of standard input without its last newline; None for a terminal or an empty input."""
    with contextlib.suppress(OSError, ValueError):  # There is no standard input.
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISREG(mode):
            print("reading the prompt from standard input", file=sys.stderr, flush=True)  # It may not have ended.
            return sys.stdin.buffer.read().decode(errors="surrogateescape").removesuffix("\n") or None
    return None
