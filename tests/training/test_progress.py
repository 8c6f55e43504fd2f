import io
from typing import Any

import pytest
from rich.console import Console

from training import progress
from training.progress import Board, Line, Remote


def told(line: Line | Remote) -> None:
    line.start("fold 1/2", 4)
    for loss in (1.0, 0.5, 0.25, 0.125):
        line.advance(loss, 0.75)
    line.stop("best epoch 1 of 1")
    line.say("published toy@1: accuracy 1")


def test_without_a_terminal_a_run_says_its_end_in_a_line() -> None:
    text = io.StringIO()
    with Board(Console(file=text, width=40)) as board:
        told(board.line("toy"))
    first, second = text.getvalue().splitlines()
    assert first.split() == ["toy", "fold", "1/2", "best", "epoch", "1", "of", "1,", "0", "s"]
    assert second == "published toy@1: accuracy 1"


def test_a_long_run_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    text = io.StringIO()
    with Board(Console(file=text, width=40)) as board:
        told(board.line("toy"))
    lines = text.getvalue().splitlines()
    assert len(lines) == 4 + 2
    assert " 25 %  loss 1.0000  validation 0.7500 " in lines[0]
    assert "100 %  loss 0.1250" in lines[3]
    assert lines[3].endswith(" 0 s left")


def test_square_brackets_in_words_are_shown_as_they_are() -> None:
    text = io.StringIO()
    with Board(Console(file=text)) as board:
        board.line("toy").say("has versions [1] and [bold]")
    assert text.getvalue() == "has versions [1] and [bold]\n"


def test_a_terminal_gets_its_cursor_back_after_a_break() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)

    def broken_off() -> None:
        with Board(console) as board:
            board.line("toy").start("", 5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert text.getvalue().rindex(show) > text.getvalue().rindex(hide)


def test_a_run_elsewhere_sends_what_a_line_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MESSAGE_EVERY_S", 0.0)
    sent: list[tuple[str, str, tuple[Any, ...]]] = []
    told(Remote("toy", sent.append))
    assert [message[:2] for message in sent] == [
        ("toy", "start"), *[("toy", "advance")] * 4, ("toy", "stop"), ("toy", "say"),
    ]  # fmt: skip
    assert sent[1][2] == (1.0, 0.75, 1)


def test_a_run_elsewhere_does_not_send_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MESSAGE_EVERY_S", 3600.0)
    sent: list[tuple[str, str, tuple[Any, ...]]] = []
    told(Remote("toy", sent.append))
    assert len([message for message in sent if message[1] == "advance"]) <= 1
