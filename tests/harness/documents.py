"""The commands in the documents, so that the tests run what a user would type."""

from pathlib import Path

from tests.harness.exporter import REPOSITORY


def commands(document: str, heading: str) -> str:
    """What stands in the shell blocks under a heading, up to the next heading."""
    here, fence, found = "", "", []
    for line in (REPOSITORY / Path(document)).read_text().splitlines(keepends=True):
        if line.startswith("```"):
            fence = "" if fence else line.strip()
        elif not fence and line.startswith("#"):
            here = line.lstrip("#").strip()
        elif fence == "```sh" and here == heading:
            found.append(line)
    assert found, f"{document} has no commands under '{heading}'"
    return "".join(found)
