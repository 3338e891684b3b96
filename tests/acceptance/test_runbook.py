"""The pages under deploy/ say what is true: their commands exist, their links lead somewhere."""

import re
import shlex
from collections.abc import Iterator

import pytest

from tests.acceptance.program import ROOT
from tests.acceptance.test_readme import parse

PAGES = sorted((ROOT / "deploy").rglob("*.md"))
STANDS_FOR = {"N": "1", "DAY": "2026-03-02", "INSTANT": "2026-03-02T22:00Z"}


def commands() -> Iterator[list[str]]:
    """Yield the words of every call of stp-etl on the pages, with something in the place of what stands for it."""
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in [
            *re.findall(r"`(stp-etl [^`]+)`", text),
            *(each for block in blocks for each in block.splitlines()),
        ]:
            words = shlex.split(line.replace("\\", ""), comments=True)
            while words and re.match(r"\w+=", words[0]):
                words.pop(0)
            if words and words[0].rpartition("/")[2] == "stp-etl":
                yield [STANDS_FOR.get(word, word) for word in words[1:]]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_exists_with_its_options(words):
    parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_there_are_commands_to_look_at():
    assert len(list(commands())) > 30
