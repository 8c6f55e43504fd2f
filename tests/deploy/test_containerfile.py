"""How the image is made: checked without making it."""

import re

import pytest

from deploy.wanted import requirements
from tests.deploy.tools import DEPLOY, ROOT, run

PYPROJECT = ROOT / "pyproject.toml"


def test_hadolint_finds_nothing() -> None:
    run("hadolint", DEPLOY / "Containerfile")


def test_what_is_copied_is_what_the_ignore_file_lets_through() -> None:
    """Everything else (a store, an environment, a history) stays out of the image by both."""
    text = (DEPLOY / "Containerfile").read_text()
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    copied = {word for line in lines for word in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_serving_needs_no_torch_and_training_does() -> None:
    serve = requirements(PYPROJECT, ["serve"])
    assert [line for line in serve if line.startswith(("torch", "onnx>"))] == []
    assert any(line.startswith("onnxruntime>") for line in serve)
    both = requirements(PYPROJECT, ["serve", "train"])
    assert any(line.startswith("torch>") for line in both)


def test_the_gpu_variant_brings_cuda_and_cudnn_and_only_one_runtime() -> None:
    lines = requirements(PYPROJECT, ["serve-gpu"])
    runtimes = [line for line in lines if line.startswith("onnxruntime")]
    assert [line.partition(">")[0] for line in runtimes] == ["onnxruntime-gpu[cuda,cudnn]"]


@pytest.mark.parametrize("extra", ["serve", "serve-gpu"])
def test_every_requirement_of_the_image_is_locked(extra: str) -> None:
    lock = (ROOT / "constraints.txt").read_text()
    pinned = {name.lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    for line in requirements(PYPROJECT, [extra]):
        name = re.split(r"[\[>]", line)[0]
        assert name.lower() in {known.replace("_", "-") for known in pinned}


def test_an_extra_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="serve-npu"):
        requirements(PYPROJECT, ["serve-npu"])
