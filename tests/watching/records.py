"""What the trackers have recorded, read from their own files."""

import json
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

NAMES = ["tensorboard", "wandb", "trackio"]

Points = dict[str, list[tuple[int, float]]]  # by name: every (iteration, value), in the order of the file


def environment(folder: Path) -> dict[str, str]:
    """Where the trackers write, apart from the run folder."""
    variables = ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "TRACKIO_DIR", "HF_HOME")
    return {name: str(folder) for name in variables}


def recorded(name: str, run: Path, folder: Path) -> tuple[Points, dict[str, str]]:
    """The points of a run and its texts; `folder`, that of `environment`, has no other run."""
    (found,) = [_tensorboard(run)] if name == "tensorboard" else all_recorded(name, folder)
    return found


def all_recorded(name: str, folder: Path) -> list[tuple[Points, dict[str, str]]]:
    """The same of every run that wandb or trackio has."""
    if name == "trackio":
        return _trackio(folder / "gpt-ladder.db")
    return [_wandb(path) for path in folder.glob("wandb/offline-run-*/*.wandb")]  # `wandb sync` would send every one


def _tensorboard(run: Path) -> tuple[Points, dict[str, str]]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    points = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    texts = {
        tag.removesuffix("/text_summary"): events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        for tag in events.Tags()["tensors"]
        if tag.endswith("text_summary")
    }
    return points, texts


def _wandb(path: Path) -> tuple[Points, dict[str, str]]:
    points: Points = defaultdict(list)
    texts = {}
    for record in _wandb_records(path.read_bytes()):
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in row.items():
                if not name.startswith("_"):
                    points[name].append((int(row["_step"]), value))
        elif record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                value = json.loads(item.value_json)
                if isinstance(value, dict) and "path" in value:
                    texts[item.key] = (path.parent / "files" / value["path"]).read_text()
                elif item.key in ("exact_val", "best_val"):
                    points[item.key] = [(-1, value)]
    return points, texts


def _wandb_records(content: bytes) -> Iterator[Record]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    position, payload, block = 7, b"", 2**15
    while position + 7 <= len(content):
        if block - position % block < 7:  # too little for a header is filled with zeros
            position += block - position % block
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        payload += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record()
            record.ParseFromString(payload)
            yield record
            payload = b""


def _trackio(path: Path) -> list[tuple[Points, dict[str, str]]]:
    found: dict[str, tuple[Points, dict[str, str]]] = defaultdict(lambda: (defaultdict(list), {}))
    with sqlite3.connect(path) as database:
        rows: list[tuple[str, int, str]] = database.execute(
            "SELECT run_name, step, metrics FROM metrics ORDER BY id"
        ).fetchall()
    for run, step, content in rows:
        points, texts = found[run]
        values: dict[str, Any] = json.loads(content)
        for name, value in values.items():
            if isinstance(value, dict):
                texts[name] = (path.parent / "media" / value["file_path"]).read_text()
            else:
                points[name].append((step, value))
    return list(found.values())
