"""Reading the `.ts` files in sktime's wheel."""

import numpy as np
import pytest

from training.data import ts_file
from training.errors import DataError


def test_series_may_differ_in_length_and_have_several_dimensions() -> None:
    head = "# a remark\n@classLabel true a b\n@data\n"
    file = ts_file.parse(head + "1,2,3:4,5,6:a\n\n7,8:9,-1e-3:b\n")

    assert file.targets == ["a", "b"]
    assert [series.shape for series in file.series] == [(3, 2), (2, 2)]
    assert file.series[0][:, 1].tolist() == [4, 5, 6]
    assert file.series[1].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "counts", "dimensions"),
    [
        ("Tecator", (172, 43), 1),
        ("BasicMotions", (40, 40), 6),
        ("ItalyPowerDemand", (67, 1029), 1),
        ("JapaneseVowels", (270, 370), 12),
    ],
)
def test_data_sets_have_the_rows_that_are_published(
    name: str, counts: tuple[int, int], dimensions: int
) -> None:
    parts = [ts_file.read(name, part) for part in ("TRAIN", "TEST")]

    assert tuple(map(len, parts)) == counts
    for part in parts:
        assert {series.shape[1] for series in part.series} == {dimensions}
        assert all(np.isfinite(series).all() for series in part.series)


def test_data_set_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"data/NoSuch/NoSuch_TEST\.ts; it is not there"):
        ts_file.read("NoSuch", "TEST")
