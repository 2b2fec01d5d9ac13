"""The one line to which the errors of other libraries are shortened."""

from __future__ import annotations

import pytest

from edgeharfer.runtime.errors import first_line

UNSUPPORTED = "The Conv2D op currently only supports the NHWC tensor format on the CPU."


@pytest.mark.parametrize(
    "message",
    [
        f"{UNSUPPORTED}\nmore",
        f"\n{UNSUPPORTED}",
        "<class 'keras.Sequential'> could not be deserialized. \n\nconfig={}.\n\nException encountered: "
        f"<class 'keras.Conv2D'> could not be deserialized.\n\nException encountered: {UNSUPPORTED}",
        "Exception encountered when calling Conv2D.call().\n\n\x1b[1m{{function_node __wrapped__Conv2D}} "
        f"{UNSUPPORTED}\x1b[0m\n\nArguments received by Conv2D.call():\n  • inputs=tf.Tensor(shape=(1,))",
        "Graph execution error:\n\nDetected at node a/convolution defined at (most recent call last):\n"
        '  File "m.py", line 3, in <module>\n\n  File "nn.py", line 8, in _conv\n\n'
        f"{UNSUPPORTED}\n\t [[{{{{node a}}}}]]",
    ],
    ids=["lines", "empty line", "Keras, nested", "Keras, call", "TensorFlow"],
)
def test_the_first_line_is_the_cause(message: str) -> None:
    assert first_line(ValueError(message)) == UNSUPPORTED


def test_without_a_message_the_kind_of_error_is_named() -> None:
    assert first_line(ValueError()) == "ValueError"


def test_a_long_line_is_cut() -> None:
    assert first_line(ValueError("x" * 999)) == "x" * 300
