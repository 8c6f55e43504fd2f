"""How log lines look, and how many of them there are."""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.errors import BadBody, Unsupported


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what a record carries in ``fields`` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        words = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
        return f"{super().format(record)} {words}".rstrip()


def _plain(value: object) -> str:
    """A caller's path may hold line ends and terminal codes; they shall not shape the log."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def configure_logging(log_format: str, level: str) -> None:
    """Send everything, uvicorn's lines too, to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Its lines of start and stop repeat ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    for name in ("asyncio", "botocore", "aiobotocore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def carry_trace_ids(trace_id: Callable[[], str]) -> None:
    """Have every line carry the id of the trace it was written in, where there is one."""

    def add(record: logging.LogRecord) -> bool:
        if found := trace_id():
            record.fields = {**getattr(record, "fields", {}), "trace_id": found}
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(add)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What V2's logging extension shows and changes: the least severe level that is written.

    One level for all stands behind Triton's switches, so the lower ones follow the higher.
    """

    level: int

    @classmethod
    def read(cls) -> "LogSettings":
        return cls(logging.getLogger().level)

    def document(self) -> dict[str, object]:
        return {
            "log_file": "",
            "log_info": self.level <= logging.INFO,
            "log_warning": self.level <= logging.WARNING,
            "log_error": self.level <= logging.ERROR,
            "log_verbose_level": int(self.level <= logging.DEBUG),
            "log_format": "ISO8601" if _format_is_json() else "default",
        }

    def changed(self, wish: Mapping[str, object]) -> "LogSettings":
        """Raises BadBody, Unsupported."""
        now = self.document()
        for key, value in wish.items():
            if key not in now:
                raise BadBody(f"expected one of {sorted(now)}; got {key[:60]!r}")
            if key in ("log_file", "log_format") and value != now[key]:
                raise Unsupported(f"{key} is set at start (lines go to standard error)")
            if type(value) is not type(now[key]) or (type(value) is int and value < 0):
                raise BadBody(f"{key}: expected a value like {now[key]!r}; got {str(value)[:60]}")
        new = {**now, **wish}
        if new["log_verbose_level"]:
            return LogSettings(logging.DEBUG)
        for key, level in (
            ("log_info", logging.INFO), ("log_warning", logging.WARNING),
            ("log_error", logging.ERROR),
        ):  # fmt: skip
            if new[key]:
                return LogSettings(level)
        return LogSettings(logging.CRITICAL)

    def apply(self) -> "LogSettings":
        logging.getLogger().setLevel(self.level)
        return self


def _format_is_json() -> bool:
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)


class AccessLog:
    """One line for every request that failed, and for so many a second of those that did not.

    A server that answers twenty thousand requests a second would otherwise spend its time writing;
    the successes left out are counted in a line of their own, so nothing is hidden.
    """

    def __init__(self, per_s: int) -> None:
        self._log = logging.getLogger("modelhub.access")
        self._per_s = per_s
        self._second = 0
        self._written = 0
        self._left_out = 0

    def wants(self, status: int) -> bool:
        """Whether a line is due. Cheap: the fields are only made for lines that are."""
        second = int(time.monotonic())
        if second != self._second:
            self._turn_over(second)
        if status < 400:
            if self._written >= self._per_s:
                self._left_out += 1
                return False
            self._written += 1
        return self._log.isEnabledFor(logging.INFO)

    def write(self, fields: dict[str, object]) -> None:
        self._log.info("request", extra={"fields": fields})

    def _turn_over(self, second: int) -> None:
        if self._left_out:
            fields = {"requests": self._left_out, "access_log_per_s": self._per_s}
            self._log.info("more requests, all answered", extra={"fields": fields})
        self._second, self._written, self._left_out = second, 0, 0
