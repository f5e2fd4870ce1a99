"""What there is to run: python -m gpt."""

from gpt.base.installation import IS_CLONE
from gpt.commands import COMMANDS


def main() -> None:
    """Print the commands, as they are called in a clone or in an installed package."""
    for name, (_, purpose) in COMMANDS.items():
        command = f"python {name}.py" if IS_CLONE else f"gpt-{name}"
        print(f"{command:<20}  {purpose}")
    print("\n--help shows the keys of each command. In Python: gpt.train(...) and gpt.load(...).")


if __name__ == "__main__":
    main()
