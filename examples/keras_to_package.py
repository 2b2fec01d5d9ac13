"""Your own Keras model to a package

`edgeharfer export` makes a package from a `.keras`, `.h5` or SavedModel file and measures how far its outputs
are from those of Keras. An action model (a recurrent layer over `TimeDistributed`) is split, so that each
frame is encoded once.

The argument is a model of faces with seven classes. Without it, a small one with random weights is made.

It needs `pip install '.[cpu,export]'`.
"""

import json
import subprocess
import sys
from pathlib import Path

from edgeharfer.runtime import Pipeline, open_source

LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def make_model(path: Path) -> Path:
    """Save a small model of grey faces."""
    import keras
    from keras import layers

    model = keras.Sequential([
        layers.Input((48, 48, 1)),
        layers.Conv2D(8, 5, strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(7, activation="softmax"),
    ])  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    model.save(path)
    return path


model = Path(sys.argv[1]) if len(sys.argv) > 1 else make_model(Path("out/model.keras"))
Path("out").mkdir(exist_ok=True)
Path("out/labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
options = ["--labels", "out/labels.txt", "--normalize", "unit", "--out", "out/own-keras"]
subprocess.run([sys.executable, "-m", "edgeharfer", "export", model, *options], check=True)

receipt = json.loads(Path("out/own-keras/receipt.json").read_text(encoding="utf-8"))
print("largest differences from Keras:", receipt["parity"])
with Pipeline(emotion="out/own-keras", action=None) as pipeline, open_source("demo") as source:
    result = pipeline.process(source.read().bgr)
for face in result.faces:
    print({label: round(prob, 3) for label, prob in face.emotion.probs.items()})
