"""Topics and payloads for an MQTT broker, with one device per stream for Home Assistant's discovery.

Pure: names and payloads. Home Assistant takes a device with all that it measures from one retained message
since 2024.11; an empty one takes it away again.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from streamcab.message import ModelInfo, Prediction, Status

ORIGIN = "streamcab"
ONLINE, OFFLINE = "online", "offline"


class EntityNames:
    """Topics under `base`, which tells bridges on one broker apart, and ids under `discovery`."""

    def __init__(self, base: str, discovery: str) -> None:
        self.base, self.discovery = base, discovery
        self.available = f"{base}/available"

    def topic(self, stream: str, kind: str) -> str:
        """Return the topic of a stream's newest message, e.g. `streamcab/mic/prediction`."""
        return f"{self.base}/{stream}/{kind}"

    def id(self, stream: str) -> str:
        """Return an id of letters, digits, `_` and `-`, as Home Assistant wants it; no two streams share one."""
        plain = f"{self.base}_{stream}"
        slug = re.sub(r"[^A-Za-z0-9_-]", "_", plain)
        return slug if slug == plain else f"{slug}_{hashlib.sha256(plain.encode()).hexdigest()[:8]}"

    def device(self, stream: str) -> str:
        """Return the topic that makes a stream a device."""
        return f"{self.discovery}/device/{self.id(stream)}/config"

    @property
    def devices(self) -> str:
        """The subscription that finds every device, others' too."""
        return f"{self.discovery}/device/+/config"

    def owned(self, payload: bytes) -> set[str]:
        """Return the topics that a device at the broker shows, if a bridge of this base made it, else none."""
        try:
            config = json.loads(payload)
            if config["o"]["name"] != ORIGIN or config["availability_topic"] != self.available:
                return set()
            return {sensor["state_topic"] for sensor in config["cmps"].values()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return set()


def device(
    names: EntityNames, stream: str, model: ModelInfo | None, version: str, expire_s: int
) -> dict[str, object]:
    """Return the discovery message of a stream."""
    uid = names.id(stream)
    answer, status = names.topic(stream, "prediction"), names.topic(stream, "status")

    def sensor(key: str, name: str, topic: str, template: str, **more: object) -> dict[str, object]:
        return {
            "p": "sensor",
            "unique_id": f"{uid}_{key}",
            "name": name,
            "state_topic": topic,
            "value_template": template,
            "expire_after": expire_s,
            **more,
        }

    measured: Mapping[str, object] = {"state_class": "measurement"}
    accent = sensor(
        "accent", "Accent", answer, "{{ value_json.top or 'none' }}", json_attributes_topic=answer
    )
    confidence = (
        "{{ (value_json.confidence * 100) | round(1) if value_json.confidence is not none else none }}"
    )
    return {
        "dev": {
            "ids": [uid],
            "name": f"{ORIGIN} {stream}",
            "mf": ORIGIN,
            "mdl": "" if model is None else f"{model.name} {model.model}",
        },
        "o": {"name": ORIGIN, "sw": version},
        "availability_topic": names.available,
        "cmps": {
            "accent": accent,
            "confidence": sensor(
                "confidence", "Confidence", answer, confidence, unit_of_measurement="%", **measured
            ),
            "speech": sensor(
                "speech",
                "Speech heard",
                answer,
                "{{ value_json.heard_s | round(1) }}",
                unit_of_measurement="s",
                device_class="duration",
                state_class="total_increasing",
            ),
            "state": sensor("state", "State", status, "{{ value_json.state }}", entity_category="diagnostic"),
            "lag": sensor(
                "lag",
                "Lag",
                status,
                "{{ value_json.lag_ms | round(0) }}",
                unit_of_measurement="ms",
                device_class="duration",
                entity_category="diagnostic",
                **measured,
            ),
        },
    }


def payload(message: Prediction | Status) -> bytes:
    """Return the newest answer of a stream, reduced to the fields that a home or a rule engine uses."""
    members: dict[str, object] = {"state": message.state, "time": round(message.time, 3)}
    if isinstance(message, Prediction):
        members |= {
            "top": message.top,
            "confidence": message.confidence,
            "probs": message.probs,
            "voiced_s": message.voiced_s,
            "heard_s": message.heard_s,
        }
    else:
        members |= {
            "source": message.source,
            "lag_ms": message.lag_ms,
            "lost_ms": message.lost_ms,
            "overflows": message.overflows,
            "detail": message.detail,
        }
    return json.dumps(members).encode()
