"""Every knob of the server. The only reader of the environment (prefix ``MODELHUB_``)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Key = Annotated[SecretStr, Field(min_length=1)]


class Settings(BaseSettings):
    """Read once, then frozen. ``MODELHUB_PORT=9000`` sets ``port``; flags of ``serve`` win."""

    model_config = SettingsConfigDict(env_prefix="MODELHUB_", frozen=True, extra="ignore")

    store: Path = Field(default=Path("models"), description="the folder of models")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 picks one")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where graphs run; auto takes CUDA where it works"
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
    log_format: Literal["json", "text"] = Field(default="text", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe line that is logged"
    )
