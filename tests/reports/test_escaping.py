"""What a stranger writes into a run folder stays text in every document that is made of it."""

import csv
import dataclasses
import io
import re
from pathlib import Path

from gpt.reports import escaping, tables
from gpt.reports.comparison import ComparisonReport
from gpt.reports.ranking import Group, Ranking
from gpt.runs.finding import FinishedRun
from gpt.runs.folder import RunFolder
from tests.conftest import compare_config
from tests.extras import require_extra
from tests.reports.test_ranking import RUN

HOSTILE = [
    "<script>alert(1)</script>", "[x](javascript:alert)", "![x](http://a.b/c)", "a\n# heading", "a | b |", "`code`",
    "www.example.com", "https://example.com", "user@example.com", "mailto:user@example.com", "xmpp:a@b.cd",
    "`a@b.cd`", "a@@b.cd`@`", "@://x.yz", "www.@www.x.yz", "\\@x", "**x** __y__", "&lt;b&gt;", "\x1b[2J\x00",
    "\u202eabc", "\\<b>", "$\\frac$",
]  # fmt: skip


def test_markdown_of_a_stranger_is_rendered_as_it_is_written() -> None:
    require_extra("docs")
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"linkify": False}).enable("table")
    for line in [*HOSTILE, *(f"before {text} after" for text in HOSTILE)]:
        escaped = escaping.markdown(line)
        rendered = re.sub("</?code>", "", parser.renderInline(escaped))
        expected = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
            expected = expected.replace(sign, entity)
        assert rendered == expected
        # GitHub also makes links of addresses in plain text, after its escapes have been read.
        plain = [token.content if token.type == "text" else "\n" for token in parser.parseInline(escaped)[0].children]
        assert not re.search(r"@|://|www\.", "".join(plain))


def test_no_cell_is_a_formula_or_has_control_characters() -> None:
    for text in ("=1+1", "+1+1", "-1+1", "-1=", "@SUM(A1)", "\x00=1", "\u202e=x", "\t=1", "a\r\n=1"):
        cell = escaping.csv_cell(text)
        assert isinstance(cell, str)
        assert cell.isprintable()
        assert not cell.startswith(("=", "+", "-", "@"))


def test_numbers_in_cells_stay_numbers() -> None:
    numbers = [-1, -0.5, "-0.5", "-.5e-3", "1e-3", "+1", None]
    assert [*map(escaping.csv_cell, numbers)] == numbers


def test_the_tables_of_hostile_runs_are_tables(tmp_path: Path) -> None:
    run = FinishedRun(RunFolder(RUN), RunFolder(RUN).summary())
    keys = ["=key", "a|b"]
    groups = [Group(dict.fromkeys(keys, text), [run], 1.0, None, "best") for text in HOSTILE]
    older = [FinishedRun(RunFolder(Path(text)), run.summary) for text in HOSTILE]
    ranking = Ranking(
        "<b>corpus</b>\n# x",
        keys,
        ["<i>"],
        groups,
        unit="token",
        has_characters=True,
        is_tested=False,
        older=older,
        unfinished=[],
    )
    content = tables.runs_csv([ranking])
    assert "\x00" not in content
    rows = list(csv.reader(io.StringIO(content)))
    assert [len(row) for row in rows] == [len(rows[0])] * (len(HOSTILE) + 1)
    assert not [cell for row in rows for cell in row if cell.startswith("=") or not cell.isprintable()]
    report = ComparisonReport.of([run], [], compare_config(by="=key"))
    report = dataclasses.replace(report, rankings=[ranking], ranked=[ranking])
    report.write(tmp_path / "compare.md")
    text = (tmp_path / "compare.md").read_text()
    assert "<" not in text
    assert not [line for line in text.splitlines() if line.startswith("#")]
    note = text[text.index("Not counted") :].splitlines()[0]
    assert all(escaping.markdown(Path(hostile)) in note for hostile in HOSTILE)
    table = text[text.index("| =key") :]
    assert len({line.replace("\\|", "").count("|") for line in table.splitlines() if line.startswith("|")}) == 1
