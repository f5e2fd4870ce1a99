"""Exports of a run to formats that other programs read, one module per format.

Each export is compared with the run before it counts as complete; a failed one leaves nothing behind.
"""
