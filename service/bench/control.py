"""The calls around a load: what a server has, what a model takes, what it has counted. Blocking."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from service.bench.errors import BenchError

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Reply:
    """An answer in full."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        """What an error says, in one line."""
        try:
            words = str(json.loads(self.body)["error"])
        except (ValueError, KeyError, TypeError):
            words = self.body[:200].decode(errors="replace")
        return f"{self.status} {' '.join(words.split())}".rstrip()


class Control:
    """A server of the V2 protocol by its address; ``headers`` go with every request."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        """Raises BenchError for an address that no load can go to."""
        parts = urlsplit(url)
        try:
            port = 80 if parts.port is None else parts.port
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise BenchError(f"--url {url}: expected http://HOST:PORT")
        self.url = url.rstrip("/")
        self.host, self.port = parts.hostname, port
        self.netloc, self.prefix = parts.netloc, parts.path.rstrip("/")
        self.headers = dict(headers or {})

    def models(self) -> list[str]:
        """Names of what the server has ready."""
        reply = self.call("POST", "/v2/repository/index", b'{"ready": true}')
        if reply.status != 200:
            raise BenchError(f"{self.url} does not list its models ({reply.reason}); name some")
        return sorted({entry["name"] for entry in json.loads(reply.body)})

    def metadata(self, model: str) -> dict[str, Any]:
        """Raises BenchError for a model that is not there or not ready."""
        reply = self.call("GET", model_path(model))
        if reply.status != 200:
            raise BenchError(f"model {model}: {self.url} says {reply.reason}")
        body: dict[str, Any] = json.loads(reply.body)
        return body

    def writers(self) -> list[str]:
        """Names of what says text token by token; none where the server has no such list."""
        reply = self.call("GET", "/v1/models?state=ready")
        if reply.status != 200:
            return []
        try:
            found = json.loads(reply.body)["data"]
            return [one["id"] for one in found if one.get("answer", {}).get("kind") == "text"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return []  # somebody else's list

    def statistics(self, model: str) -> list[dict[str, Any]]:
        """What the server has counted for the model, by version; none where it does not count."""
        reply = self.call("GET", f"{model_path(model)}/stats")
        if reply.status != 200:
            return []
        found: list[dict[str, Any]] = json.loads(reply.body).get("model_stats", [])
        return found

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Raises BenchError where nobody answers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, self.prefix + path, body, self.headers | dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        except (OSError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise BenchError(f"cannot reach {self.url}: {words}") from None
        finally:
            connection.close()


def model_path(model: str) -> str:
    """Where a model lives in the protocol."""
    return f"/v2/models/{quote(model, safe='~@')}"
