"""The hub page: served whole, locked in, and reading only what the API really says."""

import http.client
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle import MANIFEST_FILE
from service.protocols import ops
from tests.service.bundles import shades, tide
from tests.service.conftest import Hubs, Publish, Start
from tests.service.server import Server

PAGE = (ops.UI / "index.html").read_text(encoding="utf-8")
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(ops.UI.glob("*.js"))}
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(ops.UI.iterdir())}
SVG = "http://www.w3.org/2000/svg"
"""A name that looks like an address; nobody fetches it."""
WAYS_OUT = (
    "/ui/../app.py",
    "/ui/%2e%2e/app.py",
    "/ui/..%2fapp.py",
    "/ui/%2e%2e%2fapp.py",
    "/ui/..%5capp.py",
    "/ui/page.css/../../app.py",
    "/ui//etc/passwd",
    "/ui/%2fetc%2fpasswd",
    "/ui/page.css%00.js",
    "/ui/",
    "/ui/.",
)


def read_from(variable: str, scripts: Iterable[str]) -> set[str]:
    """The fields that the scripts read from a variable of this name."""
    found = (re.findall(rf"(?<![\w.]){variable}\??\.(\w+)", script) for script in scripts)
    return {field for fields in found for field in fields}


def verbs(server: Server) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each verb of each served model: the model's name, the verb's, and its signature."""
    for entry in server.client.get("/v1/models").json()["data"]:
        model = server.client.get(f"/v1/models/{entry['id']}").json()
        for name, verb in model["signature"].items():
            yield entry["id"], name, verb


def test_the_page_is_html_under_a_policy_that_runs_only_its_own_scripts(server: Server) -> None:
    response = server.client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text == PAGE
    policy = response.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert "unsafe" not in response.headers["content-security-policy"]


@pytest.mark.parametrize("name", sorted(ops.ASSETS))
def test_an_asset_has_its_media_type_and_is_not_guessed_at(server: Server, name: str) -> None:
    response = server.client.get(f"/ui/{name}")
    assert response.status_code == 200
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    assert response.headers["content-type"] == f"{kind}; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.text == SOURCES[name]


def test_whatever_the_page_and_its_scripts_refer_to_is_served(server: Server) -> None:
    named = re.findall(r'(?:href|src)="([^"#]+)"', PAGE)
    imported = re.findall(r'from "\./([^"]+)"', "".join(SCRIPTS.values()))
    paths = [name for name in named if not name.startswith("data:")]
    assert {"ui/page.css", "ui/page.js"} <= set(paths)
    assert imported
    for path in [*paths, *(f"ui/{name}" for name in imported)]:
        assert server.client.get(f"/{path}").status_code == 200, path


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_file_of_the_page_names_another_server(name: str) -> None:
    text = SOURCES[name].replace(SVG, "")
    assert not re.findall(r"\w+://\S*|[\"'(]//\S*|@import|url\(", text)


@pytest.mark.parametrize("path", WAYS_OUT)
def test_a_path_that_leads_out_of_the_folder_is_not_found(server: Server, path: str) -> None:
    # By hand: an HTTP client tidies such paths before it sends them.
    connection = http.client.HTTPConnection(*server.address)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert b"import" not in body


def test_the_page_needs_no_key_and_the_listing_does(start: Start, store: Path) -> None:
    server = start(store, api_keys='["secret"]')
    for path in ("/", *(f"/ui/{name}" for name in ops.ASSETS)):
        assert server.client.get(path).status_code == 200, path
    refusal = server.client.get("/v1/models")
    assert refusal.status_code == 401
    assert refusal.json()["detail"]


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_never_turns_data_into_html_or_code(name: str) -> None:
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser"
    banned += r"|createContextualFragment|setHTML|\beval\b|\bFunction\(|javascript:"
    assert not re.findall(banned, SCRIPTS[name])


def test_the_html_has_no_code_or_style_of_its_own() -> None:
    assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", PAGE)


def test_a_key_is_kept_in_the_tab_and_nowhere_else() -> None:
    text = "".join(SCRIPTS.values())
    assert "sessionStorage" in text
    assert not re.findall(r"localStorage|indexedDB|\.cookie|caches\.", text)


def test_each_path_the_scripts_ask_for_is_one_of_the_api(server: Server) -> None:
    text = "".join(SCRIPTS.values())
    paths = set(re.findall(r'["`]((?:v1/|readyz)[^"`]*)["`]', text))
    assert {"v1/models", "v1/models/${ref}", "v1/models/${ref}/${name}", "readyz"} == paths
    assert server.client.get("/readyz").json()["ready"] is True
    for ref, name, verb in verbs(server):
        body = {"inputs": [verb["example"]], "parameters": {}}
        reply = server.client.post(f"/v1/models/{ref}/{name}", json=body)
        assert reply.status_code == 200, reply.text
        assert read_from("body", [SCRIPTS["try.js"]]) <= set(reply.json())
        assert "compute;dur=" in reply.headers["server-timing"]


def test_each_field_the_scripts_read_of_a_model_is_in_the_answers(server: Server) -> None:
    listing = server.client.get("/v1/models").json()
    model = server.client.get("/v1/models/shades").json()
    failed_only = {"reason"}
    page = [SCRIPTS["page.js"]]
    real = {
        "entry": set.intersection(*(set(entry) for entry in listing["data"])) | failed_only,
        "model": set(model) | failed_only,
        "verb": set(model["signature"]["predict"]),
        "graph": set(model["graphs"]["model"]),
        "from": set(model["provenance"]),
    }
    for variable, fields in real.items():
        read = read_from(variable, page)
        assert read, variable
        assert read <= fields, variable


def test_each_field_the_scripts_read_of_a_kind_is_in_some_signature(server: Server) -> None:
    specs = [spec for *_, verb in verbs(server) for spec in (verb["input"], verb["answer"])]
    assert read_from("spec", SCRIPTS.values()) <= {field for spec in specs for field in spec}


def test_each_field_the_scripts_read_of_an_answer_is_in_some_answer(server: Server) -> None:
    replies = [server.predict(name, ref, verb["example"]) for ref, name, verb in verbs(server)]
    replies += [
        server.predict("explain", ref, verb["example"])
        for ref, name, verb in verbs(server)
        if server.client.get(f"/v1/models/{ref}").json()["explains"] == name
    ]
    fields = {field for reply in replies for field in reply.json()["outputs"][0]}
    assert read_from("answer", [SCRIPTS["answers.js"]]) <= fields


def test_each_kind_of_input_and_answer_has_its_own_look(server: Server) -> None:
    def drawn(script: str) -> set[str]:
        found = re.search(r"const KINDS = \{ ([\w, ]+) \}", SCRIPTS[script])
        assert found
        return set(found[1].split(", "))

    signatures = [verb for *_, verb in verbs(server)]
    assert {verb["input"]["kind"] for verb in signatures} <= drawn("try.js")
    assert {verb["answer"]["kind"] for verb in signatures} | {"explanation"} <= drawn("answers.js")


def test_a_picture_of_a_bundle_is_fetched_as_the_model_lists_it(server: Server) -> None:
    files = server.client.get("/v1/models/shades").json()["files"]
    pictures = [path for path in files if path.endswith(".png")]
    assert pictures
    for path in pictures:
        assert path.startswith("/v1/models/")
        assert server.client.get(path).headers["content-type"] == "image/png"


async def test_a_model_that_failed_has_the_reason_that_the_page_shows(
    hubs: Hubs, put: Publish, root: Path
) -> None:
    put(shades)
    put(tide)
    (root / "shades" / "1" / "model.onnx").write_bytes(b"not a graph")
    (root / "tide" / "1" / MANIFEST_FILE).write_bytes(b"{}")
    hub = hubs()
    await hub.start()
    for entry in await hub.listing():
        assert entry["state"] == "failed"
        assert entry["reason"]
        # All that the page reads of an entry whose manifest cannot be read.
        assert {"id", "version", "versions", "aliases", "verbs", "metrics"} <= set(entry)
