"""What the course says of architectures, and where from; the commands there are checked with the course's."""

import itertools

from docs.captions import numbers, of_architectures, table
from tests.conftest import REPOSITORY


def test_what_the_course_says_of_architectures_stands_in_the_tables() -> None:
    """Its charts are drawn from the same tables."""
    course = " ".join((REPOSITORY / "docs" / "course" / "architectures.md").read_text().split())
    _, losses = table("**Equal parameters.**")
    v6, gru = (numbers(losses[name][1])[0] for name in ("v6", "gru"))
    phrases = [*itertools.chain(*of_architectures().values()), f"v6 has a loss of {v6:.2f}", f"**{gru:.2f}**"]
    assert [phrase for phrase in phrases if phrase not in course] == []
    assert course.count("> **What do you expect?**") == course.count("<!-- picture: ") == 5
