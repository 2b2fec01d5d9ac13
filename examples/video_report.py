"""A report from a video

`edgeharfer analyze` writes charts, tables and a PDF. `summary.json` has the same figures for programs.

The argument is a video or a folder. Without it, the demo is analysed for three seconds.

It needs `pip install '.[cpu,report]'`.
"""

import json
import subprocess
import sys
from pathlib import Path

source = sys.argv[1:] or ["demo", "--duration", "3"]
command = [sys.executable, "-m", "edgeharfer", "analyze", *source, "--out", "out/reports", "--fresh"]
subprocess.run(command, check=True)

for path in sorted(Path("out/reports").glob("*/summary.json")):
    summary = json.loads(path.read_text(encoding="utf-8"))
    print(path.parent, sorted(file.name for file in path.parent.iterdir()))
    print("people:", len(summary["persons"]), " actions:", summary["actions"])
