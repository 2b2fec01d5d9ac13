"""What the app knows of its models before any of them runs: labels, colours, how to read their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeharfer.app.context import read_table
from edgeharfer.app.intensity import IntensityEstimator, for_prior
from edgeharfer.app.likely import LikelyActions
from edgeharfer.app.messages import read_messages
from edgeharfer.app.scene import SceneSummary
from edgeharfer.app.settings import Settings
from edgeharfer.report.palette import label_styles
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.tasks import ACTION, EMOTION, TASKS
from edgeharfer.runtime.versions import product_version

DEFAULT_PRIOR = "package"


class LiveModels:
    """Reads the emotion package's manifest, the messages and the table.

    Raises ModelError for a package that cannot be trusted, ConfigError for the other two.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        manifest = emotion_manifest(settings.pipeline)
        self.labels = manifest.labels if manifest else ()
        self._intensity = intensity_of(settings.pipeline)
        self.messages = read_messages(settings.messages, self.labels)
        self._table = read_table(settings.context)
        self._likely = LikelyActions(self._table)

    def scene(self) -> SceneSummary:
        """For a run."""
        return SceneSummary(self._intensity, self._likely, self.messages)

    def about(self) -> dict[str, Any]:
        """What the page has to know, ready for JSON."""
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
                "keep_s": limits.keep_s,
            },
        }


def emotion_manifest(pipeline: Mapping[str, Any]) -> Manifest | None:
    """Of the emotion package that a pipeline with these options runs; None where emotions are off."""
    package = pipeline.get(EMOTION, TASKS[EMOTION].package)
    return None if package is None else load_package(package, EMOTION).manifest


def intensity_of(pipeline: Mapping[str, Any]) -> IntensityEstimator:
    """How the strength of an emotion is read with these options of a pipeline."""
    manifest = emotion_manifest(pipeline)
    return for_prior(manifest, pipeline.get("prior", DEFAULT_PRIOR)) if manifest else IntensityEstimator()
