"""Stand-in until connectors.label_studio has these."""

from typing import Any
from nextlabel.connectors.records import Labeling, Record, Suggestion


def labeling_from_config(config: str) -> Labeling:
    raise ValueError("no parser")


def prediction_from(labeling: Labeling, suggestion: Suggestion) -> dict[str, Any]:
    return {
        "model_version": suggestion.model_version,
        "score": suggestion.score,
        "result": [
            {
                "from_name": labeling.name,
                "to_name": labeling.fields[0].name,
                "type": "choices",
                "value": {"choices": list(suggestion.value)},
            }
        ],
    }


def record_from_task(task: dict[str, Any], labeling: Labeling) -> Record:
    data = task.get("data")
    if not isinstance(data, dict):
        raise ValueError("no data")
    return Record(uid=str(task.get("id")), fields={f.name: str(data.get(f.name) or "") for f in labeling.fields})
