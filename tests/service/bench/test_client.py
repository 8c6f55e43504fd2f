"""The load client against real servers. How fast it is, no test says: `make bench` does."""

import itertools
import threading
import time

import numpy as np
import pytest

from service.bench.client import arrivals_s, closed, open_loop
from service.bench.control import Control
from service.bench.errors import BenchError
from service.bench.exchange import Exchange, body_of, post
from service.bench.load import SAMPLE_FIRST, Take, Target
from tests.service.bench.toys import Handler, free_port, serving

WINDOW_S = 0.2
ALL_IN_TIME = 20.0


def exchanges(*bodies: bytes) -> tuple[Exchange, ...]:
    return tuple(Exchange(post("toy", "/", {}, body), len(body)) for body in bodies)


EIGHT = exchanges(*(bytes([letter]) * 100 for letter in range(8)))


def at(address: tuple[str, int], *of: Exchange, timeout_s: float = ALL_IN_TIME) -> Target:
    return Target(*address, of or EIGHT, timeout_s)


def whole(take: Take) -> bool:
    """Everything went well, and every sample is the answer to its request."""
    return not take.errors and all(body_of(e.request) == body_of(got) for e, got in take.samples)


@pytest.mark.parametrize("connections", [1, 5])
def test_a_closed_loop_counts_the_answers_of_its_window(echo: Control, connections: int) -> None:
    take = closed(at((echo.host, echo.port)), connections, WINDOW_S)
    assert whole(take)
    assert take.seconds > WINDOW_S * 0.9  # a loop's sleep counts milliseconds
    assert 0 < take.completed == len(take.latencies_s) <= take.answered
    assert take.requests_per_s == take.completed / take.seconds
    assert take.client_cpu_s > 0


def test_all_bodies_take_turns(echo: Control) -> None:
    take = closed(at((echo.host, echo.port)), 3, WINDOW_S)
    assert len(take.samples) >= SAMPLE_FIRST
    assert {exchange for exchange, _ in take.samples} == set(EIGHT)


def test_a_body_of_megabytes_comes_back_whole(echo: Control) -> None:
    big = exchanges(bytes(range(256)) * 10_000, b"small")
    take = closed(at((echo.host, echo.port), *big), 2, WINDOW_S)
    assert whole(take)
    assert {len(body_of(got)) for _, got in take.samples} == {2_560_000, 5}


def test_each_connection_has_one_request_in_flight() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def behave(handler: Handler, body: bytes) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1
        handler.answer(body)

    with serving(behave) as address:
        assert whole(closed(at(address), 4, WINDOW_S))
    assert most[0] == 4


# --- what goes wrong is counted ----------------------------------------------------------------


def test_answers_of_another_status_or_length_are_counted_apart() -> None:
    turns, lock = itertools.cycle(["good", "500", "503", "short"]), threading.Lock()

    def behave(handler: Handler, body: bytes) -> None:
        with lock:
            turn = next(turns)
        if turn.isdecimal():
            handler.answer(b"{}", int(turn))
        else:
            handler.answer(body if turn == "good" else body[:-1])

    with serving(behave) as address:
        take = closed(at(address), 2, WINDOW_S)
    assert set(take.errors) == {"500", "wrong length"}
    assert all(body_of(exchange.request) == body_of(got) for exchange, got in take.samples)
    assert abs(take.answered - take.errors["500"]) <= 2
    assert abs(take.answered - len(take.refused_s)) <= 2  # too busy is no fault
    assert all(0 < seconds < WINDOW_S for seconds in take.refused_s)


def test_a_lost_connection_is_counted_and_opened_again() -> None:
    turns, lock = itertools.cycle(["good"] * 5 + ["close"]), threading.Lock()

    def behave(handler: Handler, body: bytes) -> None:
        with lock:
            turn = next(turns)
        if turn == "good":
            handler.answer(body)
        else:
            handler.close_connection = True

    with serving(behave) as address:
        take = closed(at(address), 2, WINDOW_S)
    assert set(take.errors) == {"connection lost"}
    assert take.errors["connection lost"] > 1
    assert take.answered > 5


NO_LENGTH = b"HTTP/1.1 200 OK\r\n\r\n"
TWO_ANSWERS = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("answer", [NO_LENGTH, TWO_ANSWERS])
def test_bytes_that_are_no_answer_are_a_lost_connection(answer: bytes) -> None:
    def behave(handler: Handler, _: bytes) -> None:
        handler.wfile.write(answer)

    with serving(behave) as address:
        take = closed(at(address, timeout_s=0.1), 1, WINDOW_S)
    assert set(take.errors) == {"connection lost"}
    assert take.completed == 0


def test_a_request_that_is_never_answered_is_given_up() -> None:
    release = threading.Event()

    def behave(handler: Handler, _: bytes) -> None:
        release.wait(ALL_IN_TIME)
        handler.close_connection = True

    with serving(behave) as address:
        take = closed(at(address, timeout_s=0.1), 2, WINDOW_S)
        opened = open_loop(at(address, timeout_s=0.1), 50, WINDOW_S, 0)
        release.set()
    assert set(take.errors) == {"timeout"}
    assert (take.answered, opened.answered) == (0, 0)
    assert opened.dropped == len(opened.latencies_s) == 10
    assert min(opened.latencies_s) > 0.1


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    port = free_port()
    with pytest.raises(BenchError, match=f"cannot reach 127.0.0.1:{port}: .*refused"):
        closed(at(("127.0.0.1", port)), 2, WINDOW_S)


# --- the open loop -----------------------------------------------------------------------------


def test_an_open_loop_sends_what_was_asked_for(echo: Control) -> None:
    take = open_loop(at((echo.host, echo.port)), 500, 0.4, 0)
    assert whole(take)
    assert len(take.latencies_s) == 200
    assert take.answered == 250  # and a tenth of a second before
    assert take.dropped == 0


def test_latency_counts_from_the_moment_a_request_was_due() -> None:
    """All answers are held back for a while; a client that waits for them before it asks again
    would see one slow answer a connection, and the requests that were due meanwhile are many more.
    """
    lock, first_s = threading.Lock(), [0.0]

    def behave(handler: Handler, body: bytes) -> None:
        with lock:
            first_s[0] = first_s[0] or time.monotonic()
            time.sleep(max(0.0, first_s[0] + 0.6 - time.monotonic()))
        handler.answer(body)

    with serving(behave) as address:
        take = open_loop(at(address), 1000, 0.4, 0)
    assert whole(take)
    assert len(take.latencies_s) == 400
    assert min(take.latencies_s) > 0.05
    assert take.late > 0  # of connections, too, there are only so many


def test_more_than_a_server_can_do_waits() -> None:
    lock = threading.Lock()

    def behave(handler: Handler, body: bytes) -> None:
        with lock:
            time.sleep(0.005)
        handler.answer(body)

    with serving(behave) as address:
        take = open_loop(at(address), 1000, 0.1, 0)
    assert whole(take)
    assert len(take.latencies_s) == 100
    assert take.completed < 50


def test_arrivals_are_as_many_as_asked_for_and_the_same_for_the_same_seed() -> None:
    arrivals = arrivals_s(100, 2.0, seed=1)
    assert arrivals == sorted(arrivals) == arrivals_s(100, 2.0, seed=1)
    assert arrivals != arrivals_s(100, 2.0, seed=2)
    assert sum(0 <= at_s < 2 for at_s in arrivals) == 200
    assert sum(at_s < 0 for at_s in arrivals) == 10


def test_gaps_between_arrivals_are_those_of_a_poisson_process() -> None:
    arrivals = np.array(arrivals_s(1000, 20.0, seed=0))
    gaps = np.diff(arrivals[arrivals >= 0])
    assert gaps.mean() == pytest.approx(0.001, rel=0.01)
    assert gaps.std() == pytest.approx(0.001, rel=0.05)
    assert (gaps > 0.003).mean() == pytest.approx(np.exp(-3), rel=0.1)
