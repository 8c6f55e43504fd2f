"""A user's own recordings and what is said of those that do not match their transcripts."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from model_store.inputs.audio import AudioInput
from training.data import recordings
from training.errors import DataError

KIND = AudioInput(sample_rate=16_000, block=640, max_seconds=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty recordings of a tone, in stereo at 8 kHz, and their transcripts."""
    rng = np.random.default_rng(0)
    for place in range(20):
        soundfile.write(tmp_path / f"{place:02}.wav", rng.uniform(-0.5, 0.5, (4_000, 2)), 8_000)
    write(tmp_path, [f"{place:02}.wav,Yes no" for place in range(20)])
    return tmp_path


def write(folder: Path, rows: list[str], header: str = "file,text") -> None:
    (folder / "transcripts.csv").write_text("\n".join([header, *rows]), encoding="utf-8")


def test_recordings_come_with_their_words_at_the_models_rate(folder: Path) -> None:
    source, found = recordings.read(folder, KIND)
    assert source.endswith(": 20 recordings")
    assert len(found) == 20
    assert found[3].file == "03.wav"
    assert found[3].words == ("yes", "no")
    assert found[3].samples.shape == (8_000,)


def test_whole_speakers_are_held_out_where_they_are_known(folder: Path) -> None:
    rows = [f"{place:02}.wav,yes no,{'abcde'[place % 5]}" for place in range(20)]
    write(folder, rows, "file,text,speaker")
    parts = recordings.split(recordings.read(folder, KIND)[1], np.random.default_rng(0))
    speakers = [{one.speaker for one in part} for part in parts]
    assert [len(one) for one in speakers] == [3, 1, 1]
    assert sum(map(len, parts)) == 20
    assert not speakers[0] & speakers[2]


def test_without_speakers_a_fifth_is_held_out_at_random(folder: Path) -> None:
    parts = recordings.split(recordings.read(folder, KIND)[1], np.random.default_rng(0))
    assert [len(part) for part in parts] == [14, 2, 4]


ROWS = [f"{place:02}.wav,{['yes', 'no'][place % 2]}" for place in range(20)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*ROWS[:-2], "aa.wav,yes", "bb.wav,no"], r"none of \['aa.wav', 'bb.wav'\]"),
        ([*ROWS[1:], "05.wav,no"], r"a row for each recording; there is none for \['00.wav'\]"),
        ([*ROWS, "05.wav,no"], r"several rows for \['05.wav'\]"),
        ([*ROWS[:-1], "19.wav,"], "expected a text; row 21 has none"),
        (ROWS[:5], "at least 20 rows; got 5"),
    ],
)
def test_transcripts_that_do_not_match_are_refused_by_name(
    folder: Path, rows: list[str], words: str
) -> None:
    write(folder, rows)
    with pytest.raises(DataError, match=words):
        recordings.read(folder, KIND)


def test_columns_must_be_there(folder: Path) -> None:
    write(folder, ROWS, "path,words")
    with pytest.raises(DataError, match="expected a column 'file'; there are 'path', 'words'"):
        recordings.read(folder, KIND)


def test_one_word_alone_teaches_nothing(folder: Path) -> None:
    write(folder, [f"{place:02}.wav,yes" for place in range(20)])
    with pytest.raises(DataError, match=r"two different words or more; got \['yes'\]"):
        recordings.read(folder, KIND)


def test_recordings_that_cannot_be_read_are_skipped_counted_and_named(folder: Path) -> None:
    (folder / "07.wav").write_bytes((folder / "07.wav").read_bytes()[:-99])
    soundfile.write(folder / "09.wav", np.full(100, np.nan), 8_000, "FLOAT")
    source, found = recordings.read(folder, KIND)
    assert "18 recordings, 2 skipped as unreadable" in source
    assert "07.wav" in source
    assert "09.wav" in source
    assert not {"07.wav", "09.wav"} & {one.file for one in found}


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.full(100, np.nan), "got nan"),
        (np.zeros(17_000), "expected at most 2 seconds; got 2.12"),
    ],
)
def test_many_that_cannot_be_read_are_refused(
    folder: Path, samples: "np.ndarray[tuple[int], np.dtype[np.float64]]", words: str
) -> None:
    for name in ("03.wav", "07.wav", "11.wav"):
        soundfile.write(folder / name, samples, 8_000, "FLOAT")
    with pytest.raises(DataError, match=rf"03\.wav: .*{words}.*; so 3 of 20 recordings"):
        recordings.read(folder, KIND)


def test_a_folder_without_one_table_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "more.csv").write_text("file,text\n")
    with pytest.raises(DataError, match=r"got 2 CSV files \['more.csv', 'transcripts.csv'\]"):
        recordings.read(folder, KIND)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="got 0 CSV files"):
        recordings.read(empty, KIND)
    with pytest.raises(DataError, match="got nothing there"):
        recordings.read(tmp_path / "nowhere", KIND)
