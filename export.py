"""Export a trained run for other programs: python export.py format=onnx. See python export.py --help."""

from gpt.__main__ import export  # its code: gpt/exporting/command.py

if __name__ == "__main__":
    export()
