"""What `auto` runs on a processor without VNNI, emulated on another x86 machine, agrees with FP32."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

QEMU = "qemu-x86_64-static"
MODEL = "Haswell-noTSX"
"""AVX2 without AVX-512 and VNNI, in QEMU's words."""
MIN_COSINE = 0.996

CHILD = """
import sys
import numpy as np
from dataclasses import replace
from edgeharfer.runtime.inference.backend import AUTO, CPU
from edgeharfer.runtime.inference.package import shipped_packages
from edgeharfer.runtime.inference.processor import products_saturate
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.inference.tuning import resolve_backend
PICTURES = 4
found = {"saturates": np.array(products_saturate())}
for package in shipped_packages():
    manifest = package.manifest
    if "int8" not in manifest.files:
        continue
    spec, role = manifest.input, manifest.roles[0]
    coarse = np.random.default_rng(1).standard_normal((PICTURES, 12, 12, spec.channels))
    noise = coarse.repeat(-(-spec.height // 12), 1).repeat(-(-spec.width // 12), 2)
    pictures = noise[:, : spec.height, : spec.width].clip(-1, 1).astype(np.float32)
    if spec.normalize == "none":
        pictures = pictures * 100 + 128
    used = resolve_backend(package, replace(CPU, precision=AUTO)).precision
    for precision in {used, "fp32", "int8"}:
        session = make_session(package.read(role, precision))
        outputs = [session.run1(one[None]) for one in pictures]
        found[f"{manifest.name} {precision}"] = np.concatenate(outputs)
    found[f"{manifest.name} used"] = found[f"{manifest.name} {used}"]
np.savez(sys.argv[1], **found)
"""


@pytest.mark.soak
@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates an older x86 on a newer one")
@pytest.mark.skipif(shutil.which(QEMU) is None, reason="apt-get install qemu-user-static")
def test_an_older_processor_gives_the_outputs_of_fp32(tmp_path: Path) -> None:
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    prefixes: dict[str, list[str]] = {"here": [], "older": [QEMU, "-cpu", MODEL]}
    results = {}
    for name, prefix in prefixes.items():
        file = tmp_path / f"{name}.npz"
        python = str(Path(sys.executable).resolve())
        subprocess.run(
            [*prefix, python, "-c", CHILD, str(file)], check=True, env={**os.environ, **paths}, timeout=3600
        )
        results[name] = dict(np.load(file))
    here, older = results["here"], results["older"]
    assert bool(older["saturates"])
    packages = [key.removesuffix(" used") for key in older if key.endswith(" used")]
    assert packages
    for package in packages:
        wanted, used = older[f"{package} fp32"].ravel(), older[f"{package} used"].ravel()
        cosine = float(wanted @ used / np.linalg.norm(wanted) / np.linalg.norm(used))
        assert cosine >= MIN_COSINE, package
        if np.array_equal(used, older[f"{package} int8"].ravel()):
            np.testing.assert_allclose(used, here[f"{package} int8"].ravel(), rtol=1e-3, atol=1e-3)
