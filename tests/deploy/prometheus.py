"""A real Prometheus, with the rules that the chart ships."""

import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.deploy.tools import CHART, tool
from tests.service.server import patience


class Prometheus:
    """A Prometheus of the test's own, a scrape and a round of rules each second."""

    def __init__(self, folder: Path, **discovery: object) -> None:
        """``discovery``: where its targets are found, in the words of its ``scrape_configs``."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        scrape = {"job_name": "hub", **discovery}
        (folder / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(CHART / "files" / "rules.yaml")],
            "scrape_configs": [scrape],
        }))  # fmt: skip
        command = [
            tool("prometheus"), f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        with (folder / "prometheus.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}")

    def await_ready(self) -> None:
        for _ in patience():
            try:
                if self.client.get("/-/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
        raise AssertionError("Prometheus does not come up")

    def ask(self, query: str) -> list[dict[str, Any]]:
        answer = self.client.get("/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", answer.get("error")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()
