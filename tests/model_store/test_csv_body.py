import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.csv_body import read_csv, write_csv
from model_store.errors import ItemMismatch


@pytest.mark.parametrize(
    "body",
    [
        b"a,b\n1,2\n3,x\n",
        b"a,b\r\n1,2\r\n3,x\r\n",
        b"\xef\xbb\xbfa,b\n1,2\n3,x",
        b" a , b \n1,2\n3,x\n\n\n",
        b'"a","b"\n"1","2"\n"3","x"\n',
    ],
    ids=["unix", "windows", "byte order mark", "blanks", "quoted"],
)
def test_a_csv_is_a_header_and_rows(body: bytes) -> None:
    assert read_csv(body) == (["a", "b"], [[1.0, 2.0], [3.0, "x"]])


def test_a_quoted_cell_may_hold_commas_and_line_ends() -> None:
    assert read_csv(b'a,b\n"x, y","two\nlines"\n') == (["a", "b"], [["x, y", "two\nlines"]])


def test_columns_named_as_texts_stay_text() -> None:
    body = b"zip,age\n01234,7\nnan,8\n"
    assert read_csv(body, ["zip"])[1] == [["01234", 7.0], ["nan", 8.0]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "expected a header and at least one row; got 0 lines"),
        (b"\n\n\n", "got 0 lines"),
        (b"a,b\n", "got 1 lines"),
        (b"a,a\n1,2\n", r"distinct names; got \['a', 'a'\]"),
        (b"a, a\n1,2\n", "distinct names"),
        (b"a,b\n1,2\n3\n", "expected 2 cells in each row; got 1 in row 3"),
        (b"a,b\n1,2,3\n", "expected 2 cells in each row; got 3 in row 2"),
        (b"a,b\n1,\xff\n", "expected UTF-8 text; got byte 6"),
        (b"a\n" + b"x" * 200_000 + b"\n", "expected CSV"),
    ],
)
def test_a_csv_that_is_none_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        read_csv(body)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(st.lists(st.tuples(cells, cells), min_size=1))
def test_texts_that_are_written_are_read_back(rows: list[tuple[str, str]]) -> None:
    header, read = read_csv(write_csv(["left", "right"], rows), ["left", "right"])
    assert header == ["left", "right"]
    assert read == [list(row) for row in rows]


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_numbers_that_are_written_are_read_back_exactly(values: list[float]) -> None:
    assert read_csv(write_csv(["x"], [[v] for v in values]))[1] == [[v] for v in values]


def test_what_is_written_any_reader_reads() -> None:
    text = write_csv(["a", "b"], [["x, y", 'a "word"']]).decode()
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ["x, y", 'a "word"']]
