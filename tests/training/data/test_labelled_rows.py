"""Reading rows of numbers and words, and the card payments that are generated."""

from pathlib import Path

import numpy as np
import pytest

from training.data import card_payments, labelled_rows
from training.errors import DataError


def write(path: Path, rows: list[str], header: str = "amount,shop,fraud") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows(normal: int = 300, fraud: int = 20) -> list[str]:
    honest = [f"{place % 7}.5,{'food' if place % 3 else 'fuel'},0" for place in range(normal)]
    return honest + ["900,gifts,1"] * fraud


def test_words_become_their_place_in_alphabetical_order(tmp_path: Path) -> None:
    found = labelled_rows.own(write(tmp_path / "own.csv", rows()), "fraud")

    assert [column.name for column in found.columns] == ["amount", "shop"]
    assert [column.categories for column in found.columns] == [None, ("food", "fuel", "gifts")]
    assert found.values[0].tolist() == [0.5, 1]
    assert found.values[-1].tolist() == [900, 2]
    assert found.anomalous is not None
    assert found.anomalous.sum() == 20


@pytest.mark.parametrize(
    ("lines", "label", "words"),
    [
        (rows(), "stolen", r"expected a column 'stolen'; there are 'amount', 'shop', 'fraud'"),
        (rows(fraud=0), "fraud", r"at least 10 anomalous rows by column 'fraud'; got 0"),
        ([*rows(), "NaN,food,0"], "fraud", r"finite number in column 'amount', row 322; got 'NaN'"),
        ([*rows(), ",food,0"], "fraud", r"finite number in column 'amount', row 322; got ''"),
        ([*rows(), "1,,0"], "fraud", r"a word in column 'shop', row 322; got nothing"),
        ([*rows(), "1,food,2"], "fraud", r"expected 0 or 1 in column 'fraud', row 322; got 2"),
        ([f"1,s{place},0" for place in range(300)] + ["1,s,1"] * 20, "fraud", r"at most 64 diff"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, lines: list[str], label: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        labelled_rows.own(write(tmp_path / "own.csv", lines), label)


def test_generated_payments_are_the_same_for_a_seed_and_rarely_fraud() -> None:
    first, again, other = (card_payments.payments(seed) for seed in (0, 0, 1))

    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values[:100], other.values[:100])
    assert first.anomalous is not None
    assert 0.005 < first.anomalous.mean() < 0.009
    assert np.isfinite(first.values).all()
    assert first.source.startswith("generated card payments")


def test_every_generated_word_is_one_of_its_column() -> None:
    payments = card_payments.payments()

    for place, column in enumerate(payments.columns):
        if column.categories:
            assert set(np.unique(payments.values[:, place])) == set(range(len(column.categories)))
