"""What there is to run: python -m gpt."""

from pathlib import Path

_COMMANDS = {
    "train": "train a stage of the ladder, or sweep over several: model=v5",
    "generate": 'print text from a trained run: prompt="ROMEO:"',
    "evaluate": "measure a run on held-out data or on a text",
    "compare": "compare runs with what was documented and with each other",
    "search": "search for hyperparameters",
    "export": "export a run for other programs: format=onnx",
    "play": "open a page on the runs in the browser",
}


def main() -> None:
    """Print the commands, as they are called in a clone or in an installed package."""
    is_clone = Path(__file__).parent.with_name("train.py").is_file()
    for name, purpose in _COMMANDS.items():
        command = f"python {name}.py" if is_clone else f"gpt-{name}"
        print(f"{command:<20}  {purpose}")
    print("\n--help shows the keys of each command. In Python: gpt.train(...) and gpt.load(...).")


if __name__ == "__main__":
    main()
