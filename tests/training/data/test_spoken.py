"""The synthetic voices: real synthesisers in a process of their own, and who is held out."""

from pathlib import Path

import numpy as np
import pytest

from training.data import archive, espeak, flite, spoken, voicebox
from training.data.spoken import Voice
from training.data.voicebox import Say
from training.errors import DataError

engines = pytest.mark.parametrize(
    ("say", "name"), [(espeak.say, "en-us+f3"), (flite.say, "slt")], ids=["espeak", "flite"]
)


@engines
def test_a_clip_is_speech_and_the_same_each_time(say: object, name: str) -> None:
    assert callable(say)
    wishes = [Say(name, "seven"), Say(name, "seven three one two")]
    short, long = say(wishes)
    assert short.rate >= 16_000
    assert 0.15 < len(short.samples) / short.rate < 2
    assert len(long.samples) > 1.5 * len(short.samples)
    assert np.abs(short.samples).max() > 1_000
    for one, other in zip((short, long), say(wishes), strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)


@engines
def test_speed_and_pitch_change_it(say: object, name: str) -> None:
    assert callable(say)
    plain, fast, high = say([Say(name, "nine"), Say(name, "nine", 1.3), Say(name, "nine", 1, 1.25)])
    assert len(fast.samples) < 0.95 * len(plain.samples)
    assert not np.array_equal(high.samples, plain.samples)


def test_a_voice_that_is_not_there_is_named_and_the_package_to_install() -> None:
    with pytest.raises(DataError, match=r"got 0.*no voice 'xx-nobody'.*apt-get install libesp"):
        espeak.say([Say("xx-nobody", "one")])


def test_a_synthesiser_that_dies_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got 0 .*libflite\.so\.1.*`apt-get install libflite1`"):
        voicebox.ask("training.data.flite", tmp_path, [Say("slt", "one")], flite.INSTALL)


def test_clips_are_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = archive.cache_folder()
    espeak.unpacked()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "modelhub").mkdir()
    for entry in (espeak.ARCHIVE.file, "espeakng-loader-0.2.4"):
        (tmp_path / "modelhub" / entry).symlink_to(real / entry)
    wishes = [(Voice("espeak", "en", 1.0, 1.0), ("four", "a"))]
    [clip] = spoken.say(wishes)
    [kept] = (tmp_path / "modelhub").glob("spoken-*.npz")
    written = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(spoken.say(wishes)[0].samples, clip.samples)
    assert kept.stat().st_mtime_ns == written
    assert clip.words == ("four", "a")
    assert 0.45 < np.abs(clip.samples).max() < 0.55


def test_no_voice_that_is_held_out_or_stopped_by_is_learned_from() -> None:
    rng = np.random.default_rng(0)
    known = {spoken.known_voice(rng).name for _ in range(3_000)}
    stopping = {spoken.stopping_voice(rng).name for _ in range(300)}
    held_out = {
        spoken.held_out_voice(rng, group).name
        for group in ("flite", "accent", "variants")
        for _ in range(500)
    }
    assert not known & (held_out | stopping)
    assert not stopping & held_out
    assert "rms" in held_out
    assert any(name.startswith("en-gb-scotland") for name in held_out)
    assert {"kal16", "awb", "slt"} <= known


def test_strings_hold_every_word_and_are_of_every_length() -> None:
    rng = np.random.default_rng(0)
    strings = [spoken.string(rng) for _ in range(400)]
    assert {word for string in strings for word in string} == set(spoken.WORDS)
    assert {len(string) for string in strings} == set(range(1, 9))
