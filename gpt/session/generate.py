"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

import contextlib
import json
import logging
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gpt.base.console import read_standard_input
from gpt.base.errors import RequestError, printable
from gpt.base.files import check_output, write_atomically
from gpt.base.losses import in_words
from gpt.base.runtime import keep_freed_memory
from gpt.config.command import Command
from gpt.config.command_schemas import GenerateConfig
from gpt.config.values import unescaped
from gpt.data.records import read_text
from gpt.session.trained import TrainedRun, load_run
from gpt.tasks.continuation import Continuation
from gpt.tasks.decoding.log_probabilities import LogProbabilities, lines

_FORMATS = (".txt", ".jsonl")

log = logging.getLogger(__name__)


def main(config: GenerateConfig, command: Command) -> None:
    """Print text or translations to standard output or a file, and everything else to standard error."""
    sources = {"prompt": config.prompt, "prompt_file": config.prompt_file, "interactive": config.interactive or None}
    if len(given := [name for name, value in sources.items() if value is not None]) > 1:
        raise RequestError(f"give {' or '.join(given)}, not both")
    if config.out is not None:  # before the model is loaded
        check_output(Path(config.out), _FORMATS)
    trained = load_run(config.run, runs=config.runs, stage=config.stage, weights=config.weights, device=config.device)
    keep_freed_memory(trained.device)
    trained.task.refuse_others(command.given)
    prompts: Iterable[str | None] = [config.prompt]
    if config.prompt_file is not None:
        prompts = [_without_marks(read_text(Path(config.prompt_file), errors=trained.task.decode_errors))]
    elif isinstance(trained.task, Continuation) and config.prompt is None:  # A translation reads lines itself.
        prompts = _read_prompts() if config.interactive else [_read_piped_prompt()]
    with trained.runtime.settings():
        texts = list(_texts(trained, prompts, config))
    if config.out is not None:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(config.out), "".join(texts))
        print(printable(f"written: {config.out}"), file=sys.stderr)


def _texts(trained: "TrainedRun", prompts: Iterable[str | None], config: GenerateConfig) -> Iterator[str]:
    """What is printed or written for each text: its lines, or JSON. A text is printed as it is generated.

    In an interactive session, Ctrl-C or an error ends the texts for one prompt alone.
    """
    task, title = trained.task, f"{trained.config.stage}, {in_words(trained.which)} of {trained.run.path}"
    is_json = config.as_json or str(config.out).lower().endswith(".jsonl")
    is_printed, blank = config.out is None, [""] if config.num_samples > 1 else []
    for prompt in prompts:
        likeliest = LogProbabilities(config.logprobs) if config.logprobs else None
        respond = partial(task.respond, watch=likeliest) if isinstance(task, Continuation) else task.respond
        try:
            for sample, pieces in enumerate(respond(trained.model, prompt, config)):
                if title:
                    print(printable(title), file=sys.stderr)
                    title = ""
                text = "".join(_print_pieces(pieces) if is_printed and not is_json else pieces)
                record: dict[str, Any] = {"prompt": prompt, "text": text}
                if likeliest is not None:
                    record["logprobs"] = likeliest.of(sample, text[len(prompt or "") :], trained.tokenizer)
                rows = [text, *lines(record.get("logprobs", [])), *blank]
                written = (json.dumps(record) if is_json else "\n".join(rows)) + "\n"
                if is_printed:
                    print(written if is_json else written.removeprefix(text), end="", flush=True)
                yield written
        except (KeyboardInterrupt, RequestError) as error:
            if not config.interactive:
                raise
            log.warning(str(error)) if isinstance(error, RequestError) else print(flush=True)


def _print_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces, printed one by one."""
    for piece in pieces:
        # A terminal would obey control characters of the corpus; a file or another program gets the text itself.
        print(printable(piece, keep="\n\t") if sys.stdout.isatty() else piece, end="", flush=True)
        yield piece


def _read_prompts() -> Iterator[str | None]:
    """The lines of standard input, each a prompt as `prompt=` takes it; an empty one is none."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):  # Windows lacks it
            import readline  # noqa: F401  # gives the line an editor and a history
        print("type how a text begins; Ctrl-C ends a text, Ctrl-D the session", file=sys.stderr)
    with contextlib.suppress(EOFError):
        while True:
            try:
                line = input("> " if is_terminal else "")
            except KeyboardInterrupt:  # drops the line, as in a shell
                print(file=sys.stderr)
                continue
            yield unescaped(line) or None


def _without_marks(text: str) -> str:
    """A text without a byte order mark, and with Unix line ends."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _read_piped_prompt() -> str | None:
    """The text of standard input without its last newline; None for a terminal or an empty input."""
    with contextlib.suppress(OSError, ValueError):  # There is no standard input.
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISREG(mode):
            return (
                _without_marks(read_standard_input("the prompt")).removesuffix("\n") or None
            )  # It may not have ended.
    return None
