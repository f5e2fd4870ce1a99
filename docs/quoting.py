"""Fill in what the pages quote from the repository: code, differences between stages, and results.

    python docs/quoting.py             in docs/**/*.md; a test says that nothing is out of date
    python docs/quoting.py --pictures  and draw the course's pictures, from the site's runs

A page names what it quotes in a comment, and the quotation stands between that and the next `<!-- end -->`, so that
the Markdown is whole wherever it is read:

    <!-- code: gpt/models/v2_attention_head.py Head -->          a class, function or method; without a name, the file
    <!-- code: gpt/training/loop.py train from="while True:" before="state.stop_clock" -->  some of its lines
    <!-- text: docs/lab/results.md after="## v7" before="![" -->     the Markdown between two texts
    <!-- diff: plain/v1.py plain/v2.py -->                       what changes from a file to another, without docstrings
    <!-- results: v2 -->                                         the losses of a stage, from docs/lab/results.md
    <!-- seeds: v7 -->                                           those of its seeds
    <!-- ladder -->                                              what each stage adds, and its exact loss
    <!-- live: v2 -->                                            a line in place of the stage that the site shows here
    <!-- graph -->                                               the steps of the graph that the site shows here
    <!-- files -->                                               the files of a run folder

Between `<!-- picture: NAME -->` and its end stand a picture of docs/images/course and its caption. docs/_ext/ladder.py
makes more of pictures, results, seeds, the ladder, the graph and live stages on the site, and a button of a bold phrase
before `<!-- show: prompt=... at=... open=... -->`: it shows that in the live stage.
"""

import argparse
import ast
import difflib
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import yaml

_HERE = Path(__file__).parent
_REPOSITORY = _HERE.parent
sys.path[:0] = [str(_REPOSITORY), str(_HERE), str(_HERE / "_ext")]  # gpt, pictures and the extensions, as in conf.py

from gpt.base.files import write_atomically  # noqa: E402
from gpt.base.ladder import LADDER, SMALL  # noqa: E402

PAGES = sorted([*_HERE.glob("*.md"), *_HERE.glob("[a-z]*/*.md")])
PICTURES = _HERE / "images" / "course"
RECORDS = _HERE / "lab" / "records.md"
RESULTS = _HERE / "lab" / "results.md"
ARCHITECTURES = _HERE / "lab" / "architectures.md"
_QUOTATION = re.compile(
    r"^(?P<comment><!-- (?P<kind>code|text|diff|results|seeds|ladder|live|graph|files):?(?P<what>[^\n]*) -->\n)"
    r"(?P<shown>.*?)"
    r"^(?P<end><!-- end -->)$",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def main() -> None:
    """Write the pages that change, and name them."""
    parser = argparse.ArgumentParser(description="Fill in what the pages of docs/ quote from the repository.")
    parser.add_argument("--pictures", action="store_true", help="draw the course's pictures, too")
    if parser.parse_args().pictures:
        _draw()
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        if (after := filled(before, page)) != before:
            write_atomically(page, after.encode())
            print(os.path.relpath(page))


def filled(text: str, page: Path) -> str:
    """The text of a page with its quotations as they are now.

    Raises LookupError if something that it quotes is not there.
    """
    previous = ""

    def fill(match: re.Match[str]) -> str:
        nonlocal previous
        words = shlex.split(match["what"])
        shown = _KINDS[match["kind"]](page, *words)
        if match["kind"] == "code":
            if words[0] != previous and not words[0].startswith("docs/"):
                shown = f"[{words[0]}]({os.path.relpath(_REPOSITORY / words[0], page.parent)})\n\n{shown}"
            previous = words[0]
        if match["kind"] == "live":  # what the page itself says of it stands below
            shown += re.sub(r"\A\*On \[the site\][^\n]*\n", "", match["shown"])
        return f"{match['comment']}{shown}{match['end']}"

    return _QUOTATION.sub(fill, text)


def results(stage: str) -> dict[str, str]:
    """The row of a stage in the first table of docs/lab/results.md, by column; and its parts in words.

    Raises LookupError if there is none.
    """
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in RESULTS.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    for row in rows:
        if row[0] == stage:
            found = dict(zip(rows[0], row, strict=True))
            said = "none" if found["documented"] == "-" else found["documented"]
            mean, _, deviation = found["measured"].partition(" ")
            spread = f"{deviation}, mean and deviation of {found['seeds']} seeds"
            return found | {"mean": mean, "spread": spread, "said": said.replace(" *", ", of one training mini-batch")}
    raise LookupError(f"docs/lab/results.md has no row of {stage}")


def by_seed() -> dict[str, dict[int, float]]:
    """The exact validation losses in docs/lab/results.md, by stage and seed."""
    seeds, rows = table(RESULTS, "\n### By seed\n")
    return {
        stage: {int(seed): float(loss) for seed, loss in zip(seeds, losses, strict=True) if loss}
        for stage, losses in rows.items()
    }


def table(page: Path, after: str) -> tuple[list[str], dict[str, list[str]]]:
    """The first table of a page after a text: its columns, and the cells of each row by its first one."""
    lines = page.read_text(encoding="utf-8").partition(after)[2].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    end = next((i for i, line in enumerate(lines) if i > start and not line.startswith("|")), len(lines))
    (_, *columns), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end])
    return columns, {name.strip("`"): cells for name, *cells in rows}


def numbers(cell: str) -> list[float]:
    """The numbers in a cell, such as 11,180 or 2.0183 ± 0.0070."""
    return [float(number.replace(",", "")) for number in _NUMBER.findall(cell)]


def _code(_page: Path, path: str, *words: str) -> str:
    limits = dict(word.split("=", 1) for word in words if "=" in word)
    text = (_REPOSITORY / path).read_text(encoding="utf-8")
    for name in words:
        if "=" not in name:
            text = _object(text, name)
    if "from" in limits:
        text = text[text.rindex("\n", 0, text.index(limits["from"])) + 1 :]
    if "before" in limits:
        text = text[: text.rindex("\n", 0, text.index(limits["before"]))]
    return f"```python\n{textwrap.dedent(text).strip()}\n```\n"


def _object(text: str, name: str) -> str:
    """The lines of a class, function or method."""
    nodes: list[ast.AST] = [ast.parse(text)]
    for part in name.split("."):
        nodes = [child for node in nodes for child in ast.iter_child_nodes(node) if getattr(child, "name", "") == part]
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"there is no {name}")


def _text(page: Path, path: str, *limits: str) -> str:
    source, found = _REPOSITORY / path, dict(limit.split("=", 1) for limit in limits)
    _, after, text = source.read_text(encoding="utf-8").partition(found["after"])
    text, before, _ = text.partition(found["before"])
    if not (after and before):
        raise LookupError(f"{path} lacks {limits}")

    def moved(link: re.Match[str]) -> str:
        return f"]({os.path.relpath(source.parent / link[1], page.parent)}"

    return re.sub(r"\]\((?![a-z]+:|#)([^)#]+)", moved, text).strip() + "\n"


def _diff(_page: Path, before: str, after: str) -> str:
    old, new = (_without_docstring(_REPOSITORY / name) for name in (before, after))
    lines = difflib.unified_diff(old, new, before, after, n=1, lineterm="")
    return "\n".join(["```diff", *lines, "```", ""])


def _without_docstring(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    docstring = ast.parse(text).body[0]
    return text.splitlines()[docstring.end_lineno or 0 :]


def _results(_page: Path, stage: str) -> str:
    row = results(stage)
    return (
        "| documented | measured on the validation split | exact | verdict |\n|---|---|---|---|\n"
        f"| {row['said']} | **{row['mean']}** {row['spread']} | {row['exact']} | {row['verdict']} |\n"
    )


def _seeds(_page: Path, stage: str) -> str:
    losses = by_seed()[stage]
    rows = (["seed", *map(str, losses)], ["---"] * (len(losses) + 1), ["exact", *(f"{x:.4f}" for x in losses.values())])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _ladder(page: Path) -> str:
    lines = ["| stage | adds | exact loss |", "|---|---|---|"]
    for stage in LADDER:
        conf = yaml.safe_load((_REPOSITORY / "conf" / "model" / f"{stage}.yaml").read_text(encoding="utf-8"))
        target = os.path.relpath(_HERE / "course" / f"{stage}.md", page.parent)
        lines.append(f"| [{stage}]({target}) | {conf['adds']} | {_exact(stage)} |")
    return "\n".join(lines) + "\n"


def _exact(stage: str) -> str:
    """The mean over seeds, in the tables of docs/lab; of v8 and v9, that of the records that introduce them."""
    if stage in SMALL:
        return results(stage)["exact"]
    if stage in by_seed():
        return f"{mean(by_seed()[stage].values()):.4f}"
    record = rf"^\| \[[^|]*\| \[{stage}\].*\| ([\d.]+) ± [\d.]+ \| [^|]+\|$"
    found = re.search(record, RECORDS.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise LookupError(f"docs/lab/records.md has no record of {stage}")
    return found[1]


def _files(_page: Path) -> str:
    from gpt.runs.folder import FILES

    rows = (f"| `{file.name}` | {file.what} | {file.when} |" for file in FILES)
    return "\n".join(["| file | what it holds | when it is written |", "|---|---|---|", *rows]) + "\n"


def _live(page: Path, stages: str, *words: str) -> str:
    names, site = stages.split(","), os.path.relpath(_HERE / "site.md", page.parent)
    does = "learns while you watch" if "train" in words else "runs" if len(names) == 1 else "run"
    return f"*On [the site]({site}), {' and '.join(names)} {does} here, in your browser.*\n"


def _graph(page: Path) -> str:
    from value_graph import in_words

    site = os.path.relpath(_HERE / "site.md", page.parent)
    return f"*On [the site]({site}), you step through a graph here.*\n\n{in_words()}"


_KINDS: dict[str, Callable[..., str]] = {
    "code": _code,
    "text": _text,
    "diff": _diff,
    "results": _results,
    "seeds": _seeds,
    "ladder": _ladder,
    "live": _live,
    "graph": _graph,
    "files": _files,
}


def _draw() -> None:
    from course_runs import train_stale
    from pictures import PICTURES as DRAWN
    from pictures import draw_stale

    draw_stale(train_stale(_HERE / "_generated" / "runs"), PICTURES, DRAWN)


if __name__ == "__main__":
    main()
