"""Emotion networks: what goes in, what comes out, what is frozen, and what the exporter makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.runtime.errors import ConfigError  # noqa: E402
from edgeharfer.runtime.inference.preprocess import preprocess_images  # noqa: E402
from edgeharfer.training.backbones import backbone  # noqa: E402
from edgeharfer.training.emotion import networks  # noqa: E402
from edgeharfer.training.emotion.networks import (  # noqa: E402
    EMOTION_NETWORKS,
    MIN_SIDE,
    add_l2,
    emotion_model,
    emotion_trunk,
    find_backbones,
    set_backbone_trainable,
)
from edgeharfer.training.losses import soft_cross_entropy  # noqa: E402

HEADS = {"fer7": 7, "fer8": 8}
FER7 = {"fer7": 7}


@pytest.fixture(autouse=True)
def seed() -> None:
    keras.utils.set_random_seed(1)


@pytest.fixture
def half_precision() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


def faces(arch: str, count: int = 4) -> Any:
    """Noise, cut to the network's smallest picture and scaled by the runtime's own code."""
    pictures = np.random.default_rng(0).integers(0, 256, (count, 50, 40, 3), np.uint8)
    return preprocess_images(list(pictures), emotion_trunk(arch, MIN_SIDE).input)


def compiled(model: Any) -> Any:
    loss = dict.fromkeys(model.output_names, soft_cross_entropy)
    model.compile(keras.optimizers.SGD(0.01), loss=loss, run_eagerly=True)
    return model


def one_step(model: Any, x: Any) -> float:
    shapes = zip(model.output_names, model.outputs, strict=True)
    y = {name: np.eye(out.shape[-1], dtype=np.float32)[np.arange(len(x))] for name, out in shapes}
    return float(model.train_on_batch(x, y, return_dict=True)["loss"])


@pytest.mark.parametrize("arch", EMOTION_NETWORKS)
def test_every_network_gives_finite_logits_for_each_head(arch: str) -> None:
    model = emotion_model(arch, HEADS, side=MIN_SIDE)
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert bool(find_backbones(model)) == EMOTION_NETWORKS[arch].backbone
    logits = {name: np.asarray(rows) for name, rows in model(faces(arch), training=False).items()}
    assert {name: (rows.shape, rows.dtype.name) for name, rows in logits.items()} == {
        name: ((4, classes), "float32") for name, classes in HEADS.items()
    }
    assert all(np.isfinite(rows).all() for rows in logits.values())


@pytest.mark.parametrize(
    "arch", [arch for arch, trunk in EMOTION_NETWORKS.items() if not trunk.backbone and trunk.restore is None]
)
def test_a_step_lowers_the_loss_on_what_it_saw(arch: str) -> None:
    plain: dict[str, Any] = {} if arch == "mini-xception" else {"dropout": 0.0}
    model = compiled(emotion_model(arch, HEADS, side=MIN_SIDE, **plain))
    losses = [one_step(model, faces(arch)) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_the_pictures_that_the_networks_take() -> None:
    sizes = {arch: (trunk.input.width, trunk.input.channels) for arch, trunk in EMOTION_NETWORKS.items()}
    assert sizes == {
        "resse": (48, 1), "mobilenetv2": (48, 1), "resnet50v2": (112, 1), "mini-xception": (64, 1),
        "cnn4": (48, 1), "lenet": (256, 3), "vgg16": (112, 3), "hybrid": (112, 3),
        "mobilenetv1-face": (48, 1), "mobilenetv1-face-small": (48, 1),
    }  # fmt: skip
    assert emotion_model("mini-xception", FER7, side=48).input_shape == (None, 48, 48, 1)
    assert emotion_trunk("mini-xception", 48).input.normalize == "symmetric"


def test_parameters_of_cnn4_as_counted_by_hand() -> None:
    widths = ((1, 32), (32, 64), (64, 128), (128, 128))
    convolutions = sum((9 * before + 1) * after for before, after in widths)
    side = (((48 - 2 - 2) // 2 - 2) // 2 - 2) // 2
    dense = (side * side * 128 + 1) * 1024 + (1024 + 1) * 7
    assert emotion_model("cnn4", FER7).count_params() == convolutions + dense == 2_345_607


def test_parameters_of_lenet_as_counted_by_hand() -> None:
    convolutions = (25 * 3 + 1) * 6 + (25 * 6 + 1) * 16
    side = ((64 - 4) // 2 - 4) // 2
    dense = (side * side * 16 + 1) * 1024 + (1024 + 1) * 128 + (128 + 1) * 7
    norms = 4 * (1024 + 128)
    assert emotion_model("lenet", FER7, side=64).count_params() == convolutions + dense + norms


def test_parameters_of_mini_xception_are_the_papers_but_for_the_last_convolution() -> None:
    last = (9 * 128 + 1) * 7
    assert emotion_model("mini-xception", FER7).count_params() == 58_423 - last + (128 + 1) * 7


def test_vgg_sees_what_its_weights_were_trained_on() -> None:
    image = keras.Input((1, 1, 3))
    model = keras.Model(image, networks.subtract_imagenet_mean(image))
    red, green, blue = 255.0, 116.779, 0.0
    pixel = np.array([red, green, blue], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(np.ravel(model(pixel)), [blue - 103.939, 0, red - 123.68], atol=1e-4)


def test_the_colours_of_resnet50v2_start_as_copies_of_the_grey_picture() -> None:
    gray = faces("resnet50v2")
    rgb = np.asarray(networks.gray_to_rgb(keras.ops.convert_to_tensor(gray)))
    np.testing.assert_allclose(rgb, np.repeat(gray, 3, axis=-1), atol=1e-6)


def test_a_frozen_backbone_keeps_its_weights_and_an_unfrozen_one_learns() -> None:
    model = emotion_model("resnet50v2", FER7, side=MIN_SIDE)
    (network,) = find_backbones(model)
    step = model.get_layer("gray_to_rgb")
    set_backbone_trainable(model, False)
    before, before_step = network.get_weights(), step.get_weights()
    one_step(compiled(model), faces("resnet50v2"))
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    assert not np.array_equal(before_step[0], step.get_weights()[0])
    set_backbone_trainable(model, True)
    one_step(compiled(model), faces("resnet50v2"))
    changed = [not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True)]
    assert np.mean(changed) > 0.9


def test_a_network_of_plain_layers_cannot_be_frozen() -> None:
    with pytest.raises(ConfigError, match="cnn4 has no backbone"):
        set_backbone_trainable(emotion_model("cnn4", FER7), False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a random VGG16, those of another network, and no weights at all."""
    folder = tmp_path_factory.mktemp("weights")
    backbone("VGG16", MIN_SIDE, MIN_SIDE, None).save_weights(folder / "vgg16.weights.h5")
    emotion_model("mini-xception", FER7).save_weights(folder / "other.weights.h5")
    (folder / "broken.weights.h5").write_bytes(b"not an HDF5 file")
    return folder


@pytest.mark.parametrize("file", ["vgg16.weights.h5", ""])
def test_weights_are_taken_from_a_file_or_found_in_a_folder(weights: Path, file: str) -> None:
    original = backbone("VGG16", MIN_SIDE, MIN_SIDE, weights / "vgg16.weights.h5").get_weights()[0]
    for given, same in ((weights / file, True), (None, False)):
        (network,) = find_backbones(emotion_model("vgg16", FER7, side=MIN_SIDE, weights=given))
        assert np.array_equal(network.get_weights()[0], original) == same


@pytest.mark.parametrize("file", ["other.weights.h5", "broken.weights.h5", "missing.weights.h5"])
def test_weights_that_do_not_fit_are_told_in_one_line(weights: Path, file: str) -> None:
    with pytest.raises(ConfigError, match=rf"^VGG16 weights .*{file}: .*: give a file with weights of VGG16"):
        emotion_model("vgg16", FER7, side=MIN_SIDE, weights=weights / file)


def test_a_folder_without_the_networks_file_is_told(weights: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"ResNet50 weights .*: expected one \.h5 file whose name begins with resnet50, found 0",
    ):
        emotion_model("hybrid", FER7, side=MIN_SIDE, weights=weights)


def test_imagenet_weights_are_asked_of_keras_and_their_lack_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def unreachable(**settings: object) -> None:
        asked.append(settings["weights"])
        raise Exception("URL fetch failure on https://example.org/vgg16.h5: None -- Name not known")

    monkeypatch.setattr(keras.applications, "VGG16", unreachable)
    with pytest.raises(ConfigError, match=r"^VGG16 weights imagenet: URL fetch failure .*: give a file"):
        emotion_model("vgg16", FER7, weights="imagenet")
    assert asked == ["imagenet"]


@pytest.mark.parametrize(
    ("arch", "settings", "message"),
    [
        ("alexnet", {}, "unknown architecture 'alexnet': choose from cnn4, lenet, "),
        ("cnn4", {"weights": "imagenet"}, "cnn4 has no backbone: it does not take backbone weights"),
        ("cnn4", {"side": MIN_SIDE - 1}, f"side = {MIN_SIDE - 1}: too small: choose at least {MIN_SIDE}"),
    ],
)
def test_what_cannot_be_built_is_told(arch: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        emotion_model(arch, FER7, **settings)


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("arch", ["mini-xception", "vgg16"])
def test_networks_compute_in_half_precision_up_to_their_logits(arch: str) -> None:
    model = emotion_model(arch, FER7, side=MIN_SIDE)
    inner = (find_backbones(model) or [model])[0]
    computing = [layer for layer in inner.layers if layer.weights and layer.name != "fer7"]
    assert {layer.compute_dtype for layer in computing} == {"float16"}
    logits = model(faces(arch), training=False)["fer7"]
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert np.isfinite(np.asarray(logits)).all()


def test_l2_adds_the_squares_of_all_kernels_to_the_loss(tmp_path: Path) -> None:
    model = emotion_model("mini-xception", FER7, side=MIN_SIDE)
    add_l2(model, 0.01)
    # Convolutions, also both halves of separable ones, and the dense layer; a bias is no matrix.
    squares = sum(float(np.square(w).sum()) for w in model.get_weights() if w.ndim >= 2)
    assert float(sum(model.losses)) == pytest.approx(0.01 * squares, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(sum(loaded.losses)) == pytest.approx(0.01 * squares, rel=1e-5)


def test_l2_reaches_into_a_backbone_unless_it_is_frozen() -> None:
    model = emotion_model("vgg16", FER7, side=MIN_SIDE)
    add_l2(model, 0.01)
    assert len(model.losses) == 13 + 1  # VGG16's convolutions, and the head
    set_backbone_trainable(model, False)
    assert len(model.losses) == 1


def test_l2_counts_in_a_training_step() -> None:
    losses = []
    for factor in (0.0, 0.5):
        keras.utils.set_random_seed(1)
        model = emotion_model("cnn4", FER7, side=MIN_SIDE)
        squares = sum(float(np.square(w).sum()) for w in model.get_weights() if w.ndim >= 2)
        if factor:
            add_l2(model, factor)
        losses.append(one_step(compiled(model), faces("cnn4")))
    assert losses[1] - losses[0] == pytest.approx(0.5 * squares, rel=1e-4)


@pytest.mark.parametrize("arch", ["cnn4", "mini-xception"])
def test_networks_export_and_agree_with_onnx_runtime(arch: str, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    from edgeharfer.export import export_model

    emotion_model(arch, FER7, side=MIN_SIDE).save(tmp_path / "model.keras")
    labels = [f"look{i}" for i in range(7)]
    how = EMOTION_NETWORKS[arch].input.normalize
    package = export_model(
        tmp_path / "model.keras", tmp_path / "package", task="emotion", labels=labels, normalize=how
    )
    assert package.manifest.input == emotion_trunk(arch, MIN_SIDE).input
    assert package.manifest.output == "logits"
