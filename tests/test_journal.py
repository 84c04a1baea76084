"""What is kept of a catalogue that is served: nothing that was acknowledged is lost, and nothing else is believed."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from retriever.base.errors import DataError, InfraError, UserError
from retriever.catalogue import Catalogue
from retriever.journal import Journal
from retriever.live import LiveRetriever
from tests.test_retriever import TOOLS, tool
from tests.test_service import index

SONG, LOUDER, MAP = tool("song", "Play music"), tool("song", "A trumpet fanfare"), tool("map", "A map of a city")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "changes.jsonl"


def replayed(path: Path, catalogue: Catalogue = TOOLS) -> Catalogue:
    journal = Journal(path)
    try:
        return journal.replay(catalogue)
    finally:
        journal.close()


def change(live: LiveRetriever) -> Catalogue:
    live.add([SONG, MAP])
    live.remove([MAP.id, TOOLS.tools[0].id])
    live.update([LOUDER])
    return live.add([MAP])


def test_a_start_goes_on_with_every_change(path: Path) -> None:
    journal = Journal(path)
    live = LiveRetriever(journal.replay(TOOLS), index, log=journal)
    expected = change(live)
    journal.close()
    again = replayed(path)
    assert again.tools == expected.tools == (*TOOLS.tools[1:], LOUDER, MAP)
    assert again.version == expected.version == 5
    assert (again.holes, again.added) == (frozenset(), ())
    assert replayed(path).tools == expected.tools  # replaying changes nothing


def test_what_is_refused_is_not_kept(path: Path) -> None:
    journal = Journal(path)
    live = LiveRetriever(journal.replay(TOOLS), index, log=journal)
    for refused in (lambda: live.add([TOOLS.tools[0]]), lambda: live.remove(["nobody"])):
        with pytest.raises(UserError):
            refused()
    journal.close()
    assert replayed(path).tools == TOOLS.tools


def test_another_catalogue_drops_the_changes(path: Path) -> None:
    journal = Journal(path)
    live = LiveRetriever(journal.replay(TOOLS), index, log=journal)
    change(live)
    new = Catalogue.of([*TOOLS.tools, MAP])
    live.replace(new)
    last = live.add([SONG])
    journal.close()
    again = replayed(path, new)
    assert again.tools == (*new.tools, SONG)
    assert again.version == last.version == 7
    with pytest.raises(UserError, match="holds 1 change of another content"):
        replayed(path, TOOLS)


def test_a_line_that_breaks_off_was_never_acknowledged(path: Path) -> None:
    journal = Journal(path)
    journal.replay(TOOLS)
    journal.changed(add=[SONG], remove=[])
    journal.changed(add=[MAP], remove=[])
    journal.close()
    whole = path.read_bytes()
    start = whole.rfind(b"\n", 0, -1) + 1
    for end in range(start, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert replayed(path).tools == (*TOOLS.tools, SONG)
        assert path.read_bytes() == whole[:start]
    path.write_bytes(whole[:-1])  # all but the line feed: as whole as an editor leaves it
    assert replayed(path).tools == (*TOOLS.tools, SONG, MAP)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:5])  # not even the first line: as good as new
    assert replayed(path).tools == TOOLS.tools


@pytest.mark.parametrize("content", ["my notes", "{", '{"id": "a"}\n{"id": "b"}', "\n", '{"catalogue"\nx'])
def test_a_file_of_something_else_is_left_alone(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    if content == "{":  # the very beginning of a journal too
        assert replayed(path).tools == TOOLS.tools
        return
    with pytest.raises(UserError, match="is a file of something else; give a path where there is none"):
        replayed(path)
    assert path.read_text() == content


def test_without_changes_another_catalogue_may_be_served(path: Path) -> None:
    assert replayed(path).tools == TOOLS.tools
    new = Catalogue.of([*TOOLS.tools, MAP])
    assert replayed(path, new).tools == new.tools
    journal = Journal(path)
    journal.replay(new)
    journal.changed(add=[SONG], remove=[])
    journal.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="holds 1 change of another"):
        replayed(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{]", "not valid JSON"),
        ("[]", "expected a JSON object, got list"),
        ('{"add": []}', "no change; expected remove and add, each a list"),
        ('{"remove": ["nobody"], "add": []}', "no tool 'nobody' is there to remove"),
        (json.dumps({"remove": [], "add": [SONG.to_dict()]}), "tool id 'song' is there already"),
        ('{"remove": [], "add": [{"id": "x"}]}', "field 'name': missing"),
    ],
)
def test_a_line_that_fits_nowhere_is_named(path: Path, line: str, said: str) -> None:
    journal = Journal(path)
    journal.replay(TOOLS)
    journal.changed(add=[SONG], remove=[])
    journal.close()
    with path.open("a") as file:
        file.write(line + "\n" + '{"remove": [], "add": []}\n')
    with pytest.raises(DataError) as error:
        replayed(path)
    assert str(error.value).startswith(f"{path}:3: ")
    assert said in str(error.value)


def test_one_service_at_a_time_has_it(path: Path) -> None:
    journal = Journal(path)
    held = "import sys; from retriever.journal import Journal; Journal(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", held, str(path)], capture_output=True, text=True)
    assert "another service keeps its changes there" in other.stderr
    journal.close()
    with pytest.raises(UserError, match="Is a directory; give a file to write to"):
        Journal(path.parent)


def test_a_full_disk_prevents_the_change_and_leaves_the_file_whole(path: Path) -> None:
    """A limit on the size of files is a disk that is full, to the process that meets it."""
    journal = Journal(path)
    live = LiveRetriever(journal.replay(TOOLS), index, log=journal)
    live.add([SONG])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + 20, limits[1]))
    try:
        with pytest.raises(InfraError, match="the change was not made: it cannot be kept in .*File too large"):
            live.add([MAP])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert MAP.id not in live.catalogue
    live.remove([SONG.id])
    journal.close()
    assert replayed(path).tools == TOOLS.tools
