"""Write a bill of materials, CycloneDX JSON: what an environment has installed, and the models that ship.

    python sbom.py ENVIRONMENT FILE.json

The packages come from cyclonedx-py, the models with the hash of each file from their manifests.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "runtime" / "edgeharfer" / "models"


def packages(environment: Path) -> dict[str, Any]:
    """The bill of what is installed, by cyclonedx-py."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", "1.6"]
    command += ["--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml")]
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = subprocess.run([*command, str(python)], capture_output=True, text=True, check=True)
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def model(folder: Path) -> dict[str, Any]:
    """One model package as a component, its files below it."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    specs = [spec for roles in manifest["files"].values() for spec in roles.values()]
    options = manifest.get("options", {}).values()
    specs += [value for value in options if isinstance(value, dict) and "file" in value]
    parts = [
        {
            "type": "file",
            "bom-ref": f"model:{manifest['name']}/{spec['file']}",
            "name": spec["file"],
            "hashes": [{"alg": "SHA-256", "content": spec["sha256"]}],
        }
        for spec in specs
    ]
    reference = f"model:{manifest['name']}"
    kind = {"type": "machine-learning-model", "bom-ref": reference, "name": manifest["name"]}
    return {
        **kind,
        "description": f"{manifest['task']}: {', '.join(manifest['labels'])}",
        "components": parts,
    }


def main() -> None:
    environment, target = Path(sys.argv[1]), Path(sys.argv[2])
    bill = packages(environment)
    models = [model(path.parent) for path in sorted(MODELS.glob("*/manifest.json"))]
    bill["components"] += models
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if (wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        sys.exit(f"{target}: not a CycloneDX 1.6 bill: {wrong}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: {len(bill['components']) - len(models)} packages, {len(models)} models")


if __name__ == "__main__":
    main()
