import numpy as np
import pytest
import torch

from training.data.snippets import Snippets
from training.parts.labelled_texts import baselines, scores, split, wanted


def test_parts_are_all_rows_once_with_each_label_in_its_share() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 25])
    parts = split(labels, 0)

    assert sorted(np.concatenate(parts)) == list(range(175))
    assert [np.bincount(labels[part]).tolist() for part in parts] == [
        [72, 36, 18], [8, 4, 2], [20, 10, 5],
    ]  # fmt: skip
    assert [part.tolist() for part in split(labels, 0)] == [part.tolist() for part in parts]
    assert split(labels, 1)[2].tolist() != parts[2].tolist()


def test_disputed_ratings_are_aimed_at_less_surely() -> None:
    ratings = np.array([-3.0, -0.5, 0.5, 3.0])
    labels = (ratings > 0).astype(np.int64)
    aims = wanted(Snippets(list("abcd"), labels, ("negative", "positive"), ratings))

    assert torch.allclose(aims.sum(1), torch.ones(4))
    assert (aims[:, 1].diff() > 0).all()
    assert aims[2, 1] < 0.7 < 0.98 < aims[3, 1]


def test_labels_without_ratings_are_aimed_at_almost_surely() -> None:
    aims = wanted(Snippets(["a", "b"], np.array([0, 2]), ("x", "y", "z")))

    assert aims.argmax(1).tolist() == [0, 2]
    assert torch.allclose(aims.sum(1), torch.ones(2))
    assert aims.max() < 1


def test_scores_are_of_the_likeliest_label_and_of_the_true_one() -> None:
    probabilities = np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])

    found = scores(probabilities, np.array([0, 1, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["cross_entropy"] == pytest.approx(-np.log([0.8, 0.6, 0.1]).mean())


def test_plain_methods_learn_from_the_known_rows_alone() -> None:
    texts = [f"{word} {place}" for place in range(20) for word in ("superb", "dreadful")]
    labels = np.array([1, 0] * 20)
    known, test = np.arange(30), np.arange(30, 40)
    found = baselines(texts, labels, known, test)
    assert {name: values["accuracy"] for name, values in found.items()} == {
        "tfidf_logistic_regression": 1.0,
        "tfidf_naive_bayes": 1.0,
    }

    labels[30:] = 1 - labels[30:]
    wrong = baselines(texts, labels, known, test)
    assert all(values["accuracy"] == 0.0 for values in wrong.values())
