"""Folders and files that hold a model in another form: named for what they are, with the way out.

Reads no tensor.
"""

from __future__ import annotations

import json
import pathlib

from verifier.errors import UserError
from verifier.system import text_files

_ADAPTER = "adapter_config.json"  # PEFT's: a LoRA or another small addition to a base model
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_OTHERS = {  # by the pattern of their files
    "*.gguf": "GGUF, llama.cpp's format",
    "consolidated*": "the format of the model's own authors (consolidated...)",
    "*.pth": "torch's own format",
    "pytorch_model*.bin": "torch's own format",
    "tf_model*.h5": "TensorFlow's format",
    "flax_model*.msgpack": "Flax's format",
    "*.onnx": "ONNX",
    "*.ckpt": "a training checkpoint of another program",
}


def adapter_problem(folder: pathlib.Path) -> str:
    """What to say of a folder with an adapter in it; "" for one without.

    An adapter's weights count only together with a base model's.
    """
    there = [name for name in _ADAPTER_WEIGHTS if (folder / name).is_file()]
    if not (folder / _ADAPTER).is_file() or not there:
        return ""
    base = text_files.read_object(folder / _ADAPTER).get("base_model_name_or_path")
    target = json.dumps(f"{folder}-merged")
    return (
        f"{folder} holds an adapter ({there[0]}, such as LoRA's) to the model "
        f"{str(base)!r:.200}, not a whole model. Merge it where peft is installed: python -c "
        "'import peft; "
        f"peft.AutoPeftModelForCausalLM.from_pretrained({json.dumps(str(folder))})"
        f".merge_and_unload().save_pretrained({target})', then add the base model's tokenizer "
        "files and give that folder"
    )


def problem(folder: pathlib.Path) -> str:
    """What to say of a folder that holds a model in another form; "" for any other folder.

    folder: without a model's safetensors.
    """
    if adapter := adapter_problem(folder):
        return adapter
    for pattern, form in _OTHERS.items():
        files = sorted(path.name for path in folder.glob(pattern))
        if files:
            return (
                f"{folder} holds only {files[0]} ({form}); safetensors are needed. "
                f"{_conversion(folder / files[0])}"
            )
    return ""


def _conversion(file: pathlib.Path) -> str:
    """The ways to safetensors from a file in another form."""
    target, config = json.dumps(f"{file.parent}-safetensors"), file.parent / "config.json"
    described = text_files.read_object(config) if config.is_file() else {}
    kind = "Seq2SeqLM" if described.get("is_encoder_decoder") is True else "CausalLM"
    named = json.dumps(str(file.parent)) + (
        f", gguf_file={json.dumps(file.name)}" if file.suffix == ".gguf" else ""
    )
    return (
        "Take the model's safetensors where they are published, or convert it where torch and "
        "transformers are installed: python -c 'import transformers as t; "
        f"t.AutoModelFor{kind}.from_pretrained({named}).save_pretrained({target})'"
    )


def refuse_file(path: pathlib.Path, error: type[UserError]) -> None:
    """Refuses a path that is a file where a folder is expected.

    Raises:
        error: always, with what the file is.
    """
    if path.suffix == ".gguf":
        raise error(
            f"{str(path)!r} is a GGUF file, llama.cpp's format; safetensors are needed. "
            f"{_conversion(path)}"
        )
    raise error(f"{str(path)!r} is a file; give the folder that holds it and its config.json")
