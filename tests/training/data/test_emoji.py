"""Emoji of both vendors: as many as they draw, and variants told by their group."""

import numpy as np
import pytest

from training.data import emoji
from training.data.emoji import SIDE, VENDORS, Emoji


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Emoji]]:
    return {vendor: emoji.read(vendor) for vendor in VENDORS}


def test_both_vendors_draw_the_same_emoji_differently(drawn: dict[str, list[Emoji]]) -> None:
    google, twitter = drawn["google"], drawn["twitter"]
    assert [one.name for one in google] == [one.name for one in twitter]
    assert len({one.name for one in google}) == len(google) == 1911
    for one in (*google, *twitter):
        assert one.picture.shape == (SIDE, SIDE, 4)
        assert one.picture.dtype == np.uint8
        assert one.picture[:, :, 3].any(), f"{one.name} is all transparent"
    pairs = zip(google, twitter, strict=True)
    assert not any(np.array_equal(a.picture, b.picture) for a, b in pairs)


def test_there_are_nine_categories_beside_the_skin_tones(drawn: dict[str, list[Emoji]]) -> None:
    categories = {one.category for one in drawn["google"]}
    assert categories == {
        "Activities", "Animals & Nature", "Component", "Flags", "Food & Drink", "Objects",
        "People & Body", "Smileys & Emotion", "Symbols", "Travel & Places",
    }  # fmt: skip


def test_variants_in_skin_tone_and_gender_are_of_their_emojis_group(
    drawn: dict[str, list[Emoji]],
) -> None:
    whole = emoji.read("twitter", variants=True)
    assert len(whole) == 3786
    plain = {one.name: one.group for one in drawn["twitter"]}
    assert all(plain[one.name] == one.group for one in whole)
    assert plain["male-firefighter"] == plain["female-firefighter"] == plain["firefighter"]
    assert plain["firefighter"] != plain["astronaut"]
    assert plain["fr"] != plain["it"]


@pytest.mark.parametrize(
    ("unified", "group"),
    [
        ("1F385-1F3FB", "1F385"),
        ("1F3C3-1F3FF-200D-2640-FE0F-200D-27A1-FE0F", "1F3C3"),
        ("1F469-1F3FD-200D-1F692", "1F9D1-1F692"),
        ("2764-FE0F", "2764"),
        ("1F3FB", "1F3FB"),
    ],
)
def test_group_of_a_code_is_what_is_drawn_whoever_it_is(unified: str, group: str) -> None:
    assert emoji.group(unified) == group
