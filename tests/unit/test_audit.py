"""`make audit` never calls an audit done that was not."""

import sys

import pytest

from tests.audit import NOT_ASKED, SOUND, WEAK, main, verdict

GOOD = {"name": "alembic", "version": "1.16", "vulns": []}
BAD = {"name": "requests", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
MENDED_NOWHERE = {"name": "rich", "version": "14", "vulns": [{"id": "PYSEC-2", "fix_versions": [], "aliases": []}]}
UNKNOWN = {"name": "typer", "skip_reason": "Dependency not found on PyPI"}


def test_only_what_was_looked_up_in_full_and_found_sound_is_sound():
    assert verdict([GOOD, GOOD]) == (SOUND, ["audit: 2 of 2 versions looked up, 0 with known weaknesses"])


def test_a_weakness_is_named_with_the_version_that_mends_it():
    code, lines = verdict([GOOD, BAD, MENDED_NOWHERE])

    assert code == WEAK
    assert lines[:2] == [
        "audit: requests 2.0: PYSEC-1, mended in 2.1",
        "audit: rich 14: PYSEC-2, mended in no version yet",
    ]


def test_versions_that_could_not_be_looked_up_make_it_not_done():
    code, lines = verdict([GOOD, UNKNOWN])

    assert code == NOT_ASKED
    assert "audit: NOT DONE, the advisory service does not know, or was not there: typer" in lines
    assert verdict([])[0] == NOT_ASKED


@pytest.mark.parametrize("said", ["", "not json"])
def test_a_tool_that_reached_nobody_makes_it_not_done(tmp_path, capsys, said):
    tool = tmp_path / "tool"
    tool.write_text(f"#!{sys.executable}\nimport sys\nprint({said!r})\nprint('no such host', file=sys.stderr)\n")
    tool.chmod(0o755)

    assert main(str(tool)) == NOT_ASKED
    assert (
        "NOT DONE, the advisory service cannot be reached, or the tool failed: no such host" in capsys.readouterr().out
    )
