"""The papers of a package: a model card for people and a receipt for checks."""

from __future__ import annotations

from collections.abc import Mapping

from edgeharfer.runtime.manifest import Manifest

_USES = {
    "emotion": "Which of the listed looks a face has. A look is not a feeling: do not judge people by it.",
    "action": "Which of the listed actions a short stretch of video shows.",
}


def model_card(manifest: Manifest, receipt: Mapping[str, object]) -> str:
    """A card from what the manifest and the receipt say, for runs that bring none."""
    spec = manifest.input
    lines = [
        f"# {manifest.name}",
        "",
        _USES[manifest.task],
        "",
        "| | |",
        "|---|---|",
        f"| task | {manifest.task} |",
        f"| labels | {', '.join(manifest.labels)} |",
        f"| input | {spec.width} x {spec.height} {spec.color}, normalisation: {spec.normalize} |",
    ]
    if manifest.window is not None:
        lines.append(f"| window | {manifest.window.frames} frames over {manifest.window.seconds:g} s |")
    lines += [
        f"| precisions | {', '.join(manifest.files)} |",
        f"| ONNX opset | {manifest.opset} |",
        "",
        "## Training",
        "",
        *_facts(manifest.training, "The exported file records nothing of its training data."),
        "",
        "## Accuracy",
        "",
        *_facts(manifest.accuracy, "Not measured. Measure it with `edgeharfer evaluate` before use."),
        "",
        "## Parity with the original",
        "",
        "Largest differences of a probability.",
        "",
        *_facts(_mapping(receipt.get("parity")), "Not measured."),
    ]
    return "\n".join(lines) + "\n"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _facts(facts: Mapping[str, object], otherwise: str) -> list[str]:
    return [f"- {key.replace('_', ' ')}: {_said(value)}" for key, value in facts.items()] or [otherwise]


def _said(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
