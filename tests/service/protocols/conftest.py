"""A server whose models deal in text and pictures, for the protocols that clients of language
models speak.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import openai
import pytest

from tests.service.bundles import publish, shades, tones, words
from tests.service.conftest import MAX_BODY_BYTES
from tests.service.picture_bundles import inks, stamps
from tests.service.server import PATIENCE_S, Server, patience, serving
from tests.service.talkers import alphabet, letters

LONG = 40_000
"""Tokens of a text that is still being said when a test looks."""
Client: TypeAlias = openai.OpenAI


@pytest.fixture(scope="session")
def talk_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("talk")
    for maker in (alphabet, letters, stamps, inks, shades, tones, words):
        publish(root, maker)
    return root


@pytest.fixture(scope="session")
def talk(talk_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over it for the whole session."""
    folder = tmp_path_factory.mktemp("talk-server")
    with serving(talk_store, folder, max_body_bytes=MAX_BODY_BYTES) as server:
        yield server


@pytest.fixture(scope="session")
def client(talk: Server) -> Iterator[Client]:
    """The OpenAI client, as it comes."""
    with client_of(talk) as client:
        yield client


def client_of(server: Server, key: str = "none") -> Client:
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE_S
    )


def await_silence(server: Server) -> None:
    """Until nobody is being answered any more."""
    for _ in patience():
        running = server.metric("modelhub_sequences_running", model="alphabet")
        if not running + server.metric("modelhub_sequences_waiting", model="alphabet"):
            return
    raise AssertionError(f"{running} sequences are still running")
