"""tokenizer.json: a run's vocabulary in the format of the library `tokenizers`, which the hub's own tools read."""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from gpt import tasks
from gpt.files import parsing, read_text_file
from gpt.runs.records import Vocabulary

NAME = "tokenizer.json"


def as_tokenizer(task: tasks.Task) -> Tokenizer:
    """The tokenizer of a task. One of characters refuses a character that its vocabulary lacks."""
    if isinstance(task, tasks.Translation):
        return Tokenizer.from_str(task.tokenizer.as_json())
    assert isinstance(task, tasks.Continuation)
    ids = {character: i for i, character in enumerate(task.tokenizer.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))  # which is not in the vocabulary
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def vocabulary_of(path: Path) -> Vocabulary:
    """The vocabulary in a tokenizer.json that was made here. Raises UserError if it is another or damaged."""
    content = read_text_file(path)
    with parsing(path):
        model = json.loads(content)["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        is_text = model["type"] == "WordLevel"
        merges = None if is_text else [(first, second) for first, second in model["merges"]]
        return Vocabulary(vocabulary="".join(tokens) if is_text else tokens, merges=merges, corpus="")
