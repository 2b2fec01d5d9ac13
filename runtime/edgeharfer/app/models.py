"""What the app knows of its models before any of them runs: labels, colours, how to read their answers."""

from __future__ import annotations

from typing import Any

from edgeharfer.app.context import read_table
from edgeharfer.app.intensity import Intensity, for_prior
from edgeharfer.app.likely import LikelyActions
from edgeharfer.app.messages import read_messages
from edgeharfer.app.scene import Scene
from edgeharfer.app.settings import Settings
from edgeharfer.report.palette import paints
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.pipeline import DEFAULT_EMOTION
from edgeharfer.runtime.versions import product_version

DEFAULT_PRIOR = "package"


class Models:
    """Reads the emotion package's manifest, the messages and the table.

    Raises ModelError for a package that cannot be trusted, ConfigError for the other two.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        manifest = _emotion_manifest(settings)
        self.labels = manifest.labels if manifest else ()
        prior = settings.pipeline.get("prior", DEFAULT_PRIOR)
        self._intensity = for_prior(manifest, prior) if manifest else Intensity()
        self.messages = read_messages(settings.messages, self.labels)
        self._table = read_table(settings.context)
        self._likely = LikelyActions(self._table)

    def scene(self) -> Scene:
        """For a run."""
        return Scene(self._intensity, self._likely, self.messages)

    def about(self) -> dict[str, Any]:
        """What the page has to know, ready for JSON."""
        limits = self._settings.limits
        return {
            "version": product_version(),
            "labels": list(self.labels),
            "colors": {label: paint.fill for label, paint in paints(self.labels).items()},
            "actions": self._settings.pipeline.get("action", "") is not None,
            "context": {"relation": self._table.relation, "activities": len(self._table.actions)},
            "limits": {
                "upload_mb": limits.upload_mb,
                "video_s": limits.video_s,
                "record_s": limits.record_s,
                "keep_s": limits.keep_s,
            },
        }


def _emotion_manifest(settings: Settings) -> Manifest | None:
    emotion = settings.pipeline.get("emotion", DEFAULT_EMOTION)
    return None if emotion is None else load_package(emotion, "emotion").manifest
