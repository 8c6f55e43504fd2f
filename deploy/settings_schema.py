"""``python -m deploy.settings_schema`` writes the chart's schema of ``settings`` from the server's.

So a misspelt setting, or one of a wrong type, is refused by Helm and never reaches a pod.
"""

import json
from pathlib import Path
from typing import Any

from service.settings import Settings

SCHEMA = Path(__file__).parent / "helm" / "modelhub" / "values.schema.json"
THE_CHARTS_OWN = frozenset(
    {"store", "cache", "host", "port", "drain_s", "shutdown_s", "api_keys", "admin_keys"}
)
"""Settings that other values of the chart decide."""
KEPT = (
    "type", "description", "enum", "pattern", "minimum", "exclusiveMinimum", "maximum", "items",
)  # fmt: skip


def settings_schema() -> dict[str, Any]:
    """The JSON schema of the settings that a values file may give."""
    fields = Settings.model_json_schema(by_alias=False)["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {key: field[key] for key in KEPT if key in field}
            for name, field in fields.items()
            if name not in THE_CHARTS_OWN
        },
    }


def main() -> None:
    """Rewrite the file in place."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["settings"] = settings_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
