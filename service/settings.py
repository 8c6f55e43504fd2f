"""Every knob of the server. The only reader of the environment (prefix ``MODELHUB_``)."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_store.places import Place, place

Key = Annotated[SecretStr, Field(min_length=1)]
DEVICES = r"^(auto|cpu|cuda(:\d{1,2})?(,cuda:\d{1,2})*(,cpu)?)$"


def _device(words: str) -> str:
    if not re.fullmatch(DEVICES, words):
        raise PydanticCustomError(
            "device", "expected auto, cpu, cuda or cuda:0,cuda:1; got '{words}'", {"words": words}
        )
    return words


class Settings(BaseSettings):
    """Read once, then frozen. ``MODELHUB_PORT=9000`` sets ``port``; flags of ``serve`` win."""

    model_config = SettingsConfigDict(
        env_prefix="MODELHUB_", frozen=True, extra="ignore", populate_by_name=True
    )

    store: Annotated[Place, BeforeValidator(place)] = Field(
        default=Path("models"),
        description="the folder of models, or the URL of a bucket, s3://bucket/prefix",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 picks one")
    device: Annotated[str, AfterValidator(_device)] = Field(
        default="auto",
        json_schema_extra={"pattern": DEVICES},
        description="where graphs run: auto (CUDA where it works), cpu, cuda, or GPUs that models"
        " are spread over, cuda:0,cuda:1; with ,cpu at the end the CPU will do where CUDA fails",
    )
    gpu_mem_limit: int = Field(
        default=0,
        ge=0,
        description="bytes that one graph's arena on a GPU may grow to; 0: no limit",
    )
    gpu_arena: Literal["as_requested", "power_of_two"] = Field(
        default="as_requested", description="by how much an arena on a GPU grows"
    )
    gpu_conv_search: Literal["heuristic", "exhaustive", "default"] = Field(
        default="heuristic",
        description="how cuDNN finds its convolutions; exhaustive measures them for each new shape",
    )
    gpu_binding: bool = Field(
        default=False, description="keep a place on the GPU for the inputs of each shape"
    )
    gpu_graphs: bool = Field(
        default=False,
        description="capture the runs of each shape as a CUDA graph and replay it; binds, too",
    )
    repository: Literal["watch", "all", "explicit"] = Field(
        default="watch",
        description="which models are served: all, all and what is published while the server runs"
        " (watch), or those named in models and by load calls (explicit)",
    )
    models: frozenset[str] = Field(
        default=frozenset(), description="JSON list of names that explicit mode loads at start"
    )
    lazy: bool = Field(
        default=False, description="load a model when it is first asked for, not at start"
    )
    pinned: frozenset[str] = Field(
        default=frozenset(),
        description="JSON list of names that are loaded at start and never evicted",
    )
    max_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="memory of loaded models; past it the least recently used goes; 0: no budget",
    )
    strict_readiness: bool = Field(
        default=True, description="a model that fails to load at start keeps /readyz at 503"
    )
    tune: bool = Field(
        default=True, description="measure at load how each graph runs best on this machine"
    )
    cache: Path = Field(
        default=Path("~/.cache/modelhub"),
        description="the folder of what was measured at load and of copies from a bucket",
    )
    threads: int = Field(default=0, ge=0, description="compute threads; 0 follows the CPU quota")
    max_batch_rows: int = Field(
        default=64, ge=1, description="rows in one run at most (a model's own limit may be lower)"
    )
    batch_delay_ms: float = Field(
        default=0.0, ge=0, le=10_000, description="let an idle lane wait this long for company"
    )
    max_queue_rows: int = Field(
        default=20_000, ge=1, description="rows waiting for one graph before requests are refused"
    )
    max_sequences: int = Field(
        default=64, ge=1, le=1024, description="texts that one model says at the same time"
    )
    max_waiting: int = Field(
        default=1024, ge=1, description="texts waiting for one model before requests are refused"
    )
    kv_cache_bytes: int = Field(
        default=2**30, ge=2**20, description="keys and values of one model's texts in the making"
    )
    prefix_cache_bytes: int = Field(
        default=2**28, ge=0, description="keys and values of prompts kept to be read once; 0: none"
    )
    max_items: int = Field(default=10_000, ge=1, description="items, and rows, in one request")
    max_body_bytes: int = Field(default=64 * 2**20, ge=1, description="size of one request's body")
    timeout_ms: int = Field(
        default=60_000,
        ge=1,
        le=3_600_000,
        description="deadline of requests that send no X-Timeout-Ms",
    )
    drain_s: float = Field(
        default=0.0, ge=0, le=3600, description="keep answering this long after SIGTERM, not ready"
    )
    shutdown_s: int = Field(default=8, ge=1, description="then finish work in hand within this")
    stuck_s: float = Field(
        default=120.0, gt=0, description="a single run longer than this makes /livez fail"
    )
    api_keys: frozenset[Key] = Field(
        default=frozenset(), description="JSON list of keys that may use models; none: no keys"
    )
    admin_keys: frozenset[Key] = Field(
        default=frozenset(), description="JSON list of keys that may also change the hub"
    )
    keep_alive_s: int = Field(
        default=75, ge=1, description="close a connection that was idle this long"
    )
    access_log_per_s: int = Field(
        default=100,
        ge=0,
        description="lines a second for requests that went well; the others are counted in one",
    )
    otlp_endpoint: str = Field(
        default="",
        pattern=r"^(https?://.+)?$",
        validation_alias=AliasChoices("modelhub_otlp_endpoint", "otel_exporter_otlp_endpoint"),
        description="send traces there by OTLP over HTTP, http://collector:4318; also read from"
        " OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    log_format: Literal["json", "text"] = Field(default="text", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe line that is logged"
    )
