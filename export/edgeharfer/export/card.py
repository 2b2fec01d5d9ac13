"""The model card of a package, written from its manifest and receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.tasks import TASKS

_KINDS = {"face": "a face", "frame": "a picture", "clip": "a short stretch of video"}


def model_card(manifest: Manifest) -> str:
    """Write a card from the manifest, for models that come without one."""
    spec = manifest.input
    lines = [
        f"# {manifest.name}",
        "",
        _use(manifest),
        "",
        "| | |",
        "|---|---|",
        f"| task | {manifest.task} |",
        f"| {'labels' if manifest.labels else 'values'} | {', '.join(_outputs(manifest))} |",
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
    ]
    return "\n".join(lines).rstrip() + "\n"


def _use(manifest: Manifest) -> str:
    if manifest.task in TASKS:
        return TASKS[manifest.task].use
    output = "Classifies" if manifest.labels else "Estimates the listed values of"
    return f"{output} {_KINDS[manifest.kind]}."


def _outputs(manifest: Manifest) -> Sequence[str]:
    values = [f"{one.name} ({one.unit})" if one.unit else one.name for one in manifest.values]
    return manifest.labels or values


def with_conversion(card: str, receipt: Mapping[str, object]) -> str:
    """Append a section on the differences from the Keras model and on latency."""
    latency = _mapping(receipt.get("latency_ms"))
    lines = [
        "## Conversion and cost",
        "",
        "Largest differences of a probability from the Keras model:",
        "",
        *_facts(_differences(receipt), "Not measured."),
        "",
        "Milliseconds of processor time on the machine that exported it, one thread, batch 1:",
        "",
        *_facts(latency, "Not measured."),
    ]
    return card.rstrip() + "\n\n" + "\n".join(lines) + "\n"


_INT8 = "## INT8"


def with_int8(card: str, manifest: Manifest, facts: Mapping[str, object], *, kept: bool) -> str:
    """Insert a section on the INT8 graphs, or replace an existing one.

    Args:
        card: The card.
        manifest: Manifest of the package.
        facts: Entry `int8` of the receipt.
        kept: Whether the package contains the INT8 graphs.
    """
    before, _, after = card.partition(_INT8)
    rest = after.partition("\n## ")[2]
    guard, times = _mapping(facts.get("guard")), _mapping(facts.get("latency_ms"))
    sizes = _mapping(facts.get("bytes"))
    lines = [
        _INT8,
        "",
        f"- made for {facts['target']}, calibration: {facts['recipe']}",
        *_weights(facts),
        f"- size: {sizes.get('int8')} bytes, FP32 {sizes.get('fp32')}",
        *(
            f"- {provider}, one thread, batch 1: {one['int8']:.3f} ms, FP32 {one['fp32']:.3f} ms"
            for provider, one in times.items()
            if isinstance(one, Mapping)
        ),
        f"- accuracy against FP32: {_changes(guard)}",
        f"- {_choice(manifest, kept)}",
        "",
    ]
    section = "\n".join(lines)
    return before.rstrip() + "\n\n" + section + (f"\n## {rest}" if rest else "")


def _weights(facts: Mapping[str, object]) -> list[str]:
    """Describe what the weights mean for processors on which 8-bit products saturate."""
    errors = _mapping(facts.get("output_error"))
    if not errors:
        return []
    kinds = {
        "exact": "8-bit products are exact on every processor, so accuracy is the same on all",
        "full": "8-bit products saturate on x86 without VNNI, which uses FP32 by default",
    }
    measured = ", ".join(f"{kind} weights {float(str(error)):.2g}" for kind, error in errors.items())
    return [
        f"- {facts['weights']} weights: {kinds[str(facts['weights'])]}",
        f"- squared output error relative to FP32: {measured}",
        f"- measured on {facts['instruction_set']}",
    ]


def _changes(guard: Mapping[str, object]) -> str:
    if not guard:
        return "not measured"
    changes = {key: float(str(value)) for key, value in _mapping(guard.get("per_class_points")).items()}
    label = min(changes, key=changes.__getitem__)
    top1 = float(str(guard["top1_points"]))
    return f"top-1 {top1:+.2f} points, worst class {label} {changes[label]:+.2f}, n = {guard['n']}"


def _choice(manifest: Manifest, kept: bool) -> str:
    if not kept:
        return "slower than FP32 on the exporting machine, so not part of the package"
    chosen = [provider for provider, one in manifest.auto.items() if one == "int8"]
    return f"used by default on {', '.join(chosen)}" if chosen else "not used by default"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _differences(receipt: Mapping[str, object]) -> Mapping[str, object]:
    parity = _mapping(receipt.get("parity"))
    return {key: value for key, value in parity.items() if key != "top1_agreement"}


def _facts(facts: Mapping[str, object], otherwise: str) -> list[str]:
    return [f"- {key.replace('_', ' ')}: {_format(value)}" for key, value in facts.items()] or [otherwise]


def _format(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
