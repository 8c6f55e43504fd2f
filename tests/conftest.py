"""What every test shares: seeded Hypothesis, and each recipe trained once for a moment."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from training.recipe import Networks, Recipe

settings.register_profile(
    "fixed",
    derandomize=True,  # the same examples in each run
    deadline=None,  # machines that test are shared
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("fixed")

