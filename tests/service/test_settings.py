"""Every knob: from the environment, from a flag, documented, and refused by name when it is bad."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model_store.cli import main
from service.cli import SHOWN
from service.settings import Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """What ``serve`` would have run with; no variable set but the store."""
    runs: list[Settings] = []

    def run(settings: Settings) -> int:
        runs.append(settings)
        return 0

    monkeypatch.setattr("service.cli.run", run)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MODELHUB_{name.upper()}", raising=False)
    monkeypatch.setenv("MODELHUB_STORE", str(tmp_path))
    return runs


CHOICES: dict[str, tuple[str, Any]] = {
    "store": ("/tmp", Path("/tmp")),  # noqa: S108 - any folder that is there
    "host": ("::1", "::1"),
    "port": ("9000", 9000),
    "device": ("cuda:0,cuda:1,cpu", "cuda:0,cuda:1,cpu"),
    "gpu_mem_limit": ("8589934592", 2**33),
    "gpu_arena": ("power_of_two", "power_of_two"),
    "gpu_conv_search": ("exhaustive", "exhaustive"),
    "gpu_binding": ("true", True),
    "gpu_graphs": ("true", True),
    "repository": ("explicit", "explicit"),
    "models": ('["a", "b"]', {"a", "b"}),
    "lazy": ("true", True),
    "pinned": ('["a"]', {"a"}),
    "max_memory_bytes": ("1000000", 1_000_000),
    "strict_readiness": ("false", False),
    "tune": ("0", False),
    "cache": ("/tmp/learned", Path("/tmp/learned")),  # noqa: S108 - nothing is written
    "threads": ("3", 3),
    "max_batch_rows": ("7", 7),
    "batch_delay_ms": ("2.5", 2.5),
    "max_queue_rows": ("99", 99),
    "max_sequences": ("5", 5),
    "max_waiting": ("6", 6),
    "kv_cache_bytes": ("2097152", 2**21),
    "prefix_cache_bytes": ("0", 0),
    "max_items": ("11", 11),
    "max_body_bytes": ("1024", 1024),
    "timeout_ms": ("500", 500),
    "drain_s": ("1.5", 1.5),
    "shutdown_s": ("3", 3),
    "stuck_s": ("9", 9.0),
    "api_keys": ('["secret", "other"]', {"secret", "other"}),
    "admin_keys": ('["root"]', {"root"}),
    "keep_alive_s": ("5", 5),
    "access_log_per_s": ("0", 0),
    "otlp_endpoint": ("http://collector:4318", "http://collector:4318"),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
}
BAD = {
    "port": ["70000", "-1", "http", "", "80.5"],
    "device": ["tpu", "", "cuda:", "cpu,cuda", "auto,cpu", "cuda:0;cuda:1", "cuda:0,"],
    "gpu_mem_limit": ["-1", "8GB"],
    "gpu_arena": ["kSameAsRequested"],
    "gpu_conv_search": ["fast"],
    "gpu_binding": ["perhaps"],
    "gpu_graphs": ["2"],
    "repository": ["poll", ""],
    "models": ["a", '"a"', "[1]"],
    "lazy": ["perhaps"],
    "pinned": ["a,b", "{"],
    "max_memory_bytes": ["-1", "2GB"],
    "strict_readiness": ["2"],
    "tune": ["fast"],
    "keep_alive_s": ["0", "1.5"],
    "access_log_per_s": ["-1"],
    "threads": ["-1", "many"],
    "max_batch_rows": ["0"],
    "batch_delay_ms": ["-1", "inf", "nan", "10001"],
    "max_queue_rows": ["0"],
    "max_sequences": ["0", "1025"],
    "max_waiting": ["0", "-1"],
    "kv_cache_bytes": ["1GB", "1024"],
    "prefix_cache_bytes": ["-1"],
    "max_items": ["0", "1.5"],
    "max_body_bytes": ["64MB"],
    "timeout_ms": ["0", "3600001"],
    "drain_s": ["-1", "inf", "3601"],
    "shutdown_s": ["0"],
    "stuck_s": ["0"],
    "api_keys": ["secret", '"secret"', '[""]', "{"],
    "admin_keys": ['[""]', "[1]"],
    "otlp_endpoint": ["collector:4318", "grpc://collector:4317", "http://"],
    "log_format": ["xml"],
    "log_level": ["loud"],
}


def test_every_setting_is_documented_and_tried_below() -> None:
    assert set(CHOICES) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize("name", CHOICES)
def test_environment_sets_it(
    name: str, served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, expected = CHOICES[name]
    monkeypatch.setenv(f"MODELHUB_{name.upper()}", text)
    assert main(["serve"]) == 0
    value = getattr(served[0], name)
    if name.endswith("_keys"):
        value = {key.get_secret_value() for key in value}
    assert value == expected


@pytest.mark.parametrize("name", SHOWN)
def test_flag_wins_over_the_environment(
    name: str, served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, expected = CHOICES[name]
    if name != "store":
        monkeypatch.setenv(f"MODELHUB_{name.upper()}", "nonsense")
    assert main(["serve", f"--{name.replace('_', '-')}", text]) == 0
    assert getattr(served[0], name) == expected


def test_no_setting_at_all_gives_the_documented_defaults(served: list[Settings]) -> None:
    assert main(["serve"]) == 0
    fields = Settings.model_fields.items()
    defaults = {name: field.default for name, field in fields if name != "store"}
    assert served[0].model_dump(exclude={"store"}) == defaults


@pytest.mark.parametrize(
    ("name", "text"), [(n, text) for n, texts in BAD.items() for text in texts]
)
def test_bad_value_exits_2_and_names_the_setting(
    name: str,
    text: str,
    served: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"MODELHUB_{name.upper()}", text)
    assert main(["serve"]) == 2
    assert served == []
    said = capsys.readouterr().err
    assert name in said
    assert said.count("\n") == 1  # a sentence, not a traceback


@pytest.mark.parametrize("flag", ["--port=http", "--log-level=loud", "--nothing"])
def test_bad_flag_exits_2_and_names_it(
    flag: str, served: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", flag])
    assert caught.value.code == 2
    assert served == []
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_bad_device_is_told_in_words_wherever_it_was_named(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--device=tpu"]) == 2
    monkeypatch.setenv("MODELHUB_DEVICE", "tpu")
    assert main(["serve"]) == 2
    assert served == []
    words = "setting device: expected auto, cpu, cuda or cuda:0,cuda:1; got 'tpu'"
    assert capsys.readouterr().err.splitlines() == [f"modelhub: {words}"] * 2


def test_settings_cannot_be_changed_and_show_no_key() -> None:
    settings = Settings.model_validate({"api_keys": ["secret"], "port": 1})
    with pytest.raises(ValidationError):
        settings.port = 2  # type: ignore[misc]
    assert "secret" not in repr(settings)
