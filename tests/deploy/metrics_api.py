"""The part of the Prometheus adapter that an autoscaler asks: ``custom.metrics.k8s.io``.

The adapter itself cannot be had here. This one, too, reads the rules that the chart ships, fills in
their placeholders and asks a real Prometheus. That one, as Debian builds it, cannot look for pods
itself: it is told here where they are, with the labels that it would give them.
"""

import http.server
import json
import ssl
import subprocess
import threading
import urllib.parse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.kube import Kube
from tests.deploy.prometheus import Prometheus
from tests.deploy.tools import CHART

GROUP = "custom.metrics.k8s.io"
PORT = 6443
RULES = {
    rule["name"]["as"]: rule["metricsQuery"]
    for rule in yaml.safe_load((CHART / "files" / "adapter-rule.yaml").read_text())["rules"]
}


class MetricsApi:
    """Serves the group inside the cluster's network, and is known to the API server."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.kube = kube
        self.told: list[dict[str, str]] = []
        """Each answer: pod → value."""
        self._server = http.server.ThreadingHTTPServer(
            (kube.cluster.address, PORT), self._handler()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*_certificate(folder))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        discovery = {"url": f"https://{kube.cluster.address}:{PORT}/targets",
                     "refresh_interval": "1s",
                     "tls_config": {"insecure_skip_verify": True}}  # fmt: skip
        self.prometheus = Prometheus(folder, http_sd_configs=[discovery])
        self.prometheus.await_ready()
        kube.create(*_announcement(kube.cluster.address))

    def stop(self) -> None:
        self.prometheus.stop()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> object:
        """``/targets``, the group's version, ``…/namespaces/N/pods/*/METRIC?labelSelector=…``."""
        if path == "/targets":
            return self._targets()
        url = urllib.parse.urlsplit(path)
        parts = urllib.parse.unquote(url.path).strip("/").split("/")
        if "namespaces" not in parts:
            return _resources()
        namespace, metric = parts[4], parts[-1]
        selector = urllib.parse.parse_qs(url.query).get("labelSelector", [""])[0]
        values = self._ask(namespace, metric, selector)
        self.told.append(values)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        items = [
            {"describedObject": {"kind": "Pod", "namespace": namespace, "name": pod,
                                 "apiVersion": "/v1"},
             "metricName": metric, "timestamp": now, "value": value}
            for pod, value in values.items()
        ]  # fmt: skip
        return {"kind": "MetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {},
                "items": items}  # fmt: skip

    def _targets(self) -> list[dict[str, Any]]:
        return [
            {"targets": [f"{pod['status']['podIP']}:8000"],
             "labels": {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}}
            for pod in self._pods("default", "app.kubernetes.io/name=modelhub")
            if pod["status"].get("podIP")
        ]  # fmt: skip

    def _pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        response = self.kube.api.get(
            f"/api/v1/namespaces/{namespace}/pods", params={"labelSelector": selector}
        )
        found: list[dict[str, Any]] = response.json()["items"]
        return found

    def _ask(self, namespace: str, metric: str, selector: str) -> dict[str, str]:
        """Pod → value in thousandths, as the shipped rule has Prometheus work it out."""
        names = "|".join(pod["metadata"]["name"] for pod in self._pods(namespace, selector))
        query = RULES[metric].replace("<<.GroupBy>>", "pod")
        query = query.replace("<<.LabelMatchers>>", f'namespace="{namespace}",pod=~"{names}"')
        found = self.prometheus.ask(query)
        return {one["metric"]["pod"]: f"{float(one['value'][1]) * 1000:.0f}m" for one in found}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """One request of the API server's."""

            def do_GET(self) -> None:
                body = json.dumps(api.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _resources() -> dict[str, Any]:
    names = [{"name": f"pods/{name}", "singularName": "", "namespaced": True,
              "kind": "MetricValueList", "verbs": ["get"]} for name in RULES]  # fmt: skip
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1beta1",
            "resources": names}  # fmt: skip


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "api.crt", folder / "api.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=metrics", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def _announcement(address: str) -> list[dict[str, Any]]:
    """The service without pods behind which this process is, and the group that it serves."""
    name = {"name": "metrics-api"}
    port: dict[str, Any] = {"port": 443, "protocol": "TCP"}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": name,
         "spec": {"ports": [{**port, "targetPort": PORT}]}},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": name,
         "subsets": [{"addresses": [{"ip": address}], "ports": [{**port, "port": PORT}]}]},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
         "metadata": {"name": f"v1beta1.{GROUP}"},
         "spec": {"group": GROUP, "version": "v1beta1", "insecureSkipTLSVerify": True,
                  "groupPriorityMinimum": 100, "versionPriority": 100,
                  "service": {"name": "metrics-api", "namespace": "default"}}},
    ]  # fmt: skip
