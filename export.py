"""Export a trained run for other programs: python export.py format=onnx. See python export.py --help."""

from gpt.apps.exporting.command import command

if __name__ == "__main__":
    command()
