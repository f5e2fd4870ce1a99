"""Export a trained run for other programs: python export.py format=onnx. See python export.py --help."""

from gpt.__main__ import main

if __name__ == "__main__":
    main("export")  # its code: gpt/exporting/command.py
