"""The command as a test runs it."""

import json
from typing import Any

import pytest

from model_store.cli import main
from model_store.store import Store


class Modelhub:
    """Runs the command in this process on the test's store."""

    def __init__(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self.capsys = store, capsys
        self.where = str(store.root)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        command, *rest = words
        try:
            code = main([command, "--store", self.where, *rest])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = self.capsys.readouterr()
        return code, out, err

    def json(self, *words: str) -> Any:
        code, out, err = self(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)
