"""Who plays an environment by asking a server what to do."""

from collections.abc import Sequence
from typing import Any

from model_store.spec import Array
from tests.service.server import Server
from training.parts.environment import Act, World


def asking(server: Server, ref: str) -> Act:
    """All observations of a moment go in one request, by REST."""

    def act(worlds: Sequence[World], observations: Array) -> list[Any]:
        del worlds
        response = server.predict("predict", ref, *observations.tolist())
        assert response.status_code == 200, response.text
        return [output["action"] for output in response.json()["outputs"]]

    return act
