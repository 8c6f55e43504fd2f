"""Log lines that parse, that nobody can forge, and that are no more than one can write."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from service.errors import BadBody, Unsupported
from service.logs import (
    AccessLog,
    JsonFormatter,
    LogSettings,
    TextFormatter,
    configure_logging,
)
from tests.service.conftest import Start
from tests.service.server import Server, patience
from tests.service.workbench import Clock

# --- lines of a server -------------------------------------------------------------------------


def test_log_line_carries_the_request_and_where_its_time_went(server: Server) -> None:
    headers = {"X-Request-Id": "log-line-1"}
    body = {"inputs": [[1, 2, 0]]}
    server.client.post("/v1/models/sensor/score", json=body, headers=headers)
    for _ in patience():
        if lines := server.logged("log-line-1"):
            break
    assert len(lines) == 1
    line = lines[0]
    assert line["level"] == "info"
    assert line["method"] == "POST"
    assert line["path"] == "/v1/models/sensor/score"
    assert (line["model"], line["version"], line["status"]) == ("sensor", 1, 200)
    assert line["queue_ms"] >= 0
    assert 0 < line["compute_ms"] <= line["ms"]


def test_fault_is_logged_with_its_request_and_every_line_is_json(server: Server) -> None:
    headers = {"X-Request-Id": "log-fault-1"}
    body = {"inputs": [[1, 2, 99]]}
    server.client.post("/v1/models/sensor/score", json=body, headers=headers)
    for _ in patience():
        lines = server.logged("log-fault-1")
        if len(lines) == 2:
            break
    assert {line["level"] for line in lines} == {"error", "info"}
    assert any("indices element out of data bounds" in line.get("exception", "")
               for line in server.log())  # fmt: skip


def test_probes_do_not_fill_the_log(server: Server) -> None:
    server.client.get("/readyz", headers={"X-Request-Id": "log-probe-1"})
    server.client.get("/v1/models", headers={"X-Request-Id": "log-probe-2"})
    for _ in patience():
        if server.logged("log-probe-2"):
            break
    assert server.logged("log-probe-1") == []


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("name", logging.INFO, "file", 1, message, (), None)
    made.fields = fields
    return made


def test_json_line_holds_whatever_it_is_given() -> None:
    try:
        raise ValueError('a "quoted"\nfault')
    except ValueError:
        made = record("two\nlines", path="/a\n/b", number=3, thing=object())
        made.exc_info = sys.exc_info()
    text = JsonFormatter().format(made)
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "two\nlines"
    assert (line["path"], line["number"]) == ("/a\n/b", 3)
    assert 'ValueError: a "quoted"' in line["exception"]


@pytest.mark.parametrize("path", ["/a\nERROR all is lost", "/a\x1b[2J", "/a\rb", "/a\u2028b"])
def test_callers_text_does_not_shape_the_log_for_people(path: str) -> None:
    text = TextFormatter("%(message)s").format(record("request", path=path, status=404))
    assert text.splitlines() == [text]
    assert text.isprintable()
    assert text.endswith("status=404")


# --- as many as one can write ------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("service.logs.time", clock)
    return clock


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "modelhub.access")
    return caplog


def ask(log: AccessLog, *statuses: int) -> list[int]:
    """The statuses of those requests that got a line."""
    lines = [status for status in statuses if log.wants(status)]
    for status in lines:
        log.write({"status": status})
    return lines


@pytest.mark.usefixtures("clock", "written")
def test_failed_request_always_has_its_line_and_others_so_many_a_second() -> None:
    log = AccessLog(2)
    assert ask(log, 200, 404, 200, 200, 500, 302, 499, 200) == [200, 404, 200, 500, 499]


def test_successes_left_out_are_counted_in_the_next_second(
    clock: Clock, written: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(1)
    assert ask(log, 200, 200, 200, 503, 204) == [200, 503]
    clock.now += 1
    assert ask(log, 200, 200) == [200]
    clock.now += 5
    assert ask(log, 200) == [200]
    clock.now += 1
    assert ask(log, 200) == [200]
    told = [r for r in written.records if r.getMessage() == "more requests, all answered"]
    assert [getattr(r, "fields", {}) for r in told] == [
        {"requests": 3, "access_log_per_s": 1},
        {"requests": 1, "access_log_per_s": 1},
    ]


@pytest.mark.usefixtures("clock", "written")
def test_no_line_for_what_goes_well_is_a_choice() -> None:
    assert ask(AccessLog(0), 200, 500, 200) == [500]


@pytest.mark.usefixtures("clock")
def test_no_line_is_made_that_the_level_would_drop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "modelhub.access")
    assert ask(AccessLog(9), 200, 500) == []


def test_server_writes_no_more_lines_than_it_is_told_to(start: Start, server: Server) -> None:
    server = start(server.store, access_log_per_s=1)
    for number in range(20):
        headers = {"X-Request-Id": f"few-{number}"}
        assert server.client.get("/v1/models", headers=headers).status_code == 200
    assert server.client.get("/v1/nothing", headers={"X-Request-Id": "few-x"}).status_code == 404
    for _ in patience():
        if server.logged("few-x"):
            break
    lines = [line for line in server.log() if str(line.get("request_id", "")).startswith("few-")]
    left_out = sum(line.get("requests", 0) for line in server.log())
    assert 1 <= len(lines) - 1 < 20
    assert len(lines) - 1 + left_out <= 20


# --- what V2 shows and changes -------------------------------------------------------------------


@pytest.fixture
def root_level() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = root.level
    yield root
    root.setLevel(before)


LEVELS = {
    logging.DEBUG: (True, True, True, 1),
    logging.INFO: (True, True, True, 0),
    logging.WARNING: (False, True, True, 0),
    logging.ERROR: (False, False, True, 0),
    logging.CRITICAL: (False, False, False, 0),
}


@pytest.mark.parametrize("level", LEVELS)
def test_switches_show_the_level(level: int, root_level: logging.Logger) -> None:
    root_level.setLevel(level)
    document = LogSettings.read().document()
    keys = ("log_info", "log_warning", "log_error", "log_verbose_level")
    assert tuple(document[key] for key in keys) == LEVELS[level]
    assert document["log_file"] == ""


@pytest.mark.parametrize(
    ("wish", "level"),
    [
        ({}, logging.INFO),
        ({"log_info": False}, logging.WARNING),
        ({"log_info": False, "log_warning": False}, logging.ERROR),
        ({"log_info": False, "log_warning": False, "log_error": False}, logging.CRITICAL),
        ({"log_verbose_level": 1}, logging.DEBUG),
        ({"log_verbose_level": 3}, logging.DEBUG),
        ({"log_info": False, "log_verbose_level": 1}, logging.DEBUG),
        ({"log_file": ""}, logging.INFO),
    ],
)
def test_switches_that_are_moved_move_the_level(
    wish: dict[str, Any], level: int, root_level: logging.Logger
) -> None:
    root_level.setLevel(logging.INFO)
    changed = LogSettings.read().changed(wish)
    assert changed.level == level
    assert root_level.level == logging.INFO  # nothing happens before it is applied
    assert changed.apply() == LogSettings.read() == LogSettings(level)


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"log_colour": True}, BadBody),
        ({"log_info": "yes"}, BadBody),
        ({"log_info": 1}, BadBody),
        ({"log_info": None}, BadBody),
        ({"log_verbose_level": -1}, BadBody),
        ({"log_verbose_level": True}, BadBody),
        ({"log_verbose_level": 1.5}, BadBody),
        ({"log_file": "/tmp/x"}, Unsupported),  # noqa: S108 - nobody writes there
        ({"log_format": "JSON"}, Unsupported),
        ({"log_format": 5}, Unsupported),
    ],
)
def test_wish_that_cannot_be_granted_is_refused_by_its_name(
    wish: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(wish))):
        LogSettings(logging.INFO).changed(wish)


# --- where they go -----------------------------------------------------------------------------


@pytest.fixture
def loggers() -> Iterator[None]:
    """Loggers that go back to what they were."""
    own = [logging.getLogger(name) for name in ("", "uvicorn.error", "asyncio")]
    before = [(logger, logger.handlers, logger.level) for logger in own]
    yield
    for logger, handlers, level in before:
        logger.handlers = handlers
        logger.setLevel(level)


@pytest.mark.usefixtures("loggers")
def test_lines_go_to_standard_error_as_json_or_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("json", "info")
    logging.getLogger("service.x").info("hello %s", "you", extra={"fields": {"a": 1}})
    logging.getLogger("service.x").debug("not this")
    logging.getLogger("uvicorn.error").info("nor this")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"], line["a"]) == ("info", "hello you", 1)
    assert LogSettings.read().document()["log_format"] == "ISO8601"
    configure_logging("text", "warning")
    logging.getLogger("service.x").warning("look", extra={"fields": {"a": 1}})
    assert capsys.readouterr().err.rstrip().endswith("WARNING look a=1")
    assert LogSettings.read().document()["log_format"] == "default"
