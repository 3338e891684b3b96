"""Plays every story of `stories/`; unless it says otherwise, at its end nothing is lost and every digit is right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.domain.sweeps import SweepTimes
from etl.store.database import Database
from tests.clocks import FakeClock
from tests.scenarios.stage import Stage
from tests.scenarios.steps import play

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))
LEAST = 40


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> Iterator[Stage]:
    """A feed whose queue was proven empty, and whose sweeps are off until a story switches them on."""
    stage = Stage(database, clock, times=SweepTimes(daily=False))
    stage.poll()
    yield stage
    stage.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_law_1_the_story_ends_as_it_says(story: Path, stage: Stage):
    title, *lines = (line for line in story.read_text().splitlines() if line)

    for line in lines:
        play(stage, line)

    assert title.endswith(".")
    if not any("lost" in line for line in lines):
        play(stage, "nothing is lost")
    play(stage, "the book is right in every digit")


def test_there_are_enough_stories_and_each_asks_something():
    assert len(STORIES) >= LEAST
    assert [path.stem for path in STORIES if "\nThen " not in path.read_text()] == []


def test_a_line_that_nobody_understands_is_a_fault(stage: Stage):
    with pytest.raises(AssertionError, match="nobody understands"):
        play(stage, "When the moon is full")


def test_a_story_that_is_not_true_fails(stage: Stage):
    play(stage, "2 trades are done")
    play(stage, "somebody else takes 1 trade")
    play(stage, "the queue is polled")

    with pytest.raises(AssertionError, match="lost"):
        play(stage, "nothing is lost")
