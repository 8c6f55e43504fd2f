"""Decoders of each form, held and let go by hand."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.service.decoder.bundles import FORMS, Form
from tests.service.decoder.workbench import Bench

Benches: TypeAlias = Callable[..., Bench]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    """How the graph keeps its past. A test that is about one of them says so."""
    name: Form = request.param
    return name


@pytest.fixture
async def benches(form: Form, tmp_path: Path) -> AsyncIterator[Benches]:
    """Makes benches of this form, and ends them."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(tmp_path / f"bench-{len(made)}", form, **options))
        return made[-1]

    yield make
    for bench in made:
        await bench.close()
