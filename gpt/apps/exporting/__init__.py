"""Exports: a run in a form that other programs read, one format a module.

Each is compared with the run before it is called done, and one that fails leaves nothing behind.
"""
