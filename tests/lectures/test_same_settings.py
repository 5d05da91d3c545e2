"""Two lectures say that they train the same machine with the same settings: so say their committed results, too."""

import ast
import json

from tools.repo import ROOT


def settings(lecture: str, metric: str) -> str:
    """The protocol of a number of the full profile, from the size of the machine to the training images."""
    report = json.loads((ROOT / "results" / "full" / f"{lecture}.json").read_text(encoding="utf-8"))
    (protocol,) = (entry["protocol"] for entry in report["metrics"] if entry["name"] == metric)
    start, end = protocol.index("16 hidden"), protocol.index(" training images")
    return protocol[start:end]


def parameter(lecture: str, name: str) -> tuple[int, ...]:
    """What a parameter is in smoke, quick and full."""
    tree = ast.parse((ROOT / "notebooks" / f"{lecture}.py").read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PARAMETERS"
    )
    return ast.literal_eval(table)[name]


def test_the_machine_with_16_hidden_units_in_both_frameworks():
    keras = settings("rbm_keras", "keras_exact16_test_log_likelihood")
    assert keras == settings("rbm", "exact16_test_log_likelihood")
    assert "50 epochs, rate 0.06 to 0" in keras
    assert parameter("rbm_keras", "epochs")[1:] == parameter("rbm", "small_epochs")[1:]
    assert parameter("rbm_keras", "num_images")[1:] == parameter("rbm", "num_images")[1:]
