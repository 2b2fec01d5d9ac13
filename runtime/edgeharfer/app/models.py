"""Facts about the app's models that are known before they are loaded: labels, colours, messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeharfer.app.context import read_table
from edgeharfer.app.likely import LikelyActions
from edgeharfer.app.messages import read_messages
from edgeharfer.app.scene import SceneSummary
from edgeharfer.app.settings import Settings
from edgeharfer.report.palette import label_styles
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.tasks import ACTION, EMOTION, TASKS
from edgeharfer.runtime.tasks.intensity import IntensityEstimator, for_prior
from edgeharfer.runtime.versions import product_version

DEFAULT_PRIOR = "package"


class LiveModels:
    """The emotion package's manifest, the messages and the context table.

    Raises:
        ModelError: The emotion package cannot be used.
        ConfigError: The messages or the table cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        manifest = emotion_manifest(settings.pipeline)
        self.labels = manifest.labels if manifest else ()
        self._intensity = load_intensity_estimator(settings.pipeline)
        self.messages = read_messages(settings.messages, self.labels)
        self._table = read_table(settings.context)
        self._likely = LikelyActions(self._table)

    def scene(self) -> SceneSummary:
        """Create the scene summary of a run."""
        return SceneSummary(self._intensity, self._likely, self.messages)

    def about(self) -> dict[str, Any]:
        """The body of /api/about, JSON-serialisable."""
        limits = self._settings.limits
        return {
            "version": product_version(),
            "labels": list(self.labels),
            "colors": {label: paint.fill for label, paint in label_styles(self.labels).items()},
            "actions": self._settings.pipeline.get(ACTION, "") is not None,
            "context": {"relation": self._table.relation, "activities": len(self._table.actions)},
            "limits": {
                "upload_mb": limits.upload_mb,
                "video_s": limits.video_s,
                "record_s": limits.record_s,
                "example_s": limits.example_s,
                "countdown_s": limits.countdown_s,
                "keep_s": limits.keep_s,
            },
        }


def emotion_manifest(pipeline: Mapping[str, Any]) -> Manifest | None:
    """Manifest of the emotion package for these options of `Pipeline`; None if emotions are off."""
    package = pipeline.get(EMOTION, TASKS[EMOTION].package)
    if package is None:
        return None
    return (package if isinstance(package, Package) else load_package(package, EMOTION)).manifest


def load_intensity_estimator(pipeline: Mapping[str, Any]) -> IntensityEstimator:
    """The intensity estimator for these options of `Pipeline`."""
    manifest = emotion_manifest(pipeline)
    return for_prior(manifest, pipeline.get("prior", DEFAULT_PRIOR)) if manifest else IntensityEstimator()
