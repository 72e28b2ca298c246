"""The settings of a sentence-transformers model, from the files of its folder.

A folder has the network (`model.safetensors`, `config.json`), its tokenizer (`tokenizer.json`) and, optionally,
`sentence_bert_config.json` (max_seq_length), `modules.json` (what comes after the network) and `1_Pooling/config.json`.
Only networks of BERT's architecture with mean, cls or max pooling and normalisation are read; others are refused.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

# The settings of config.json that the network here has; where one is absent, it is the first.
_SUPPORTED = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
# Fields of networks.bert.Bert, and what config.json calls them.
_SIZES = {
    "vocabulary_size": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_width": "intermediate_size",
    "max_length": "max_position_embeddings",
    "num_types": "type_vocab_size",
}
POOLINGS = ("mean", "cls", "max")
_POOLING_FLAGS = {f"pooling_mode_{name}": name.partition("_")[0] for name in ("mean_tokens", "cls_token", "max_tokens")}


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """What the files of a folder say.

    weights, tokenizer: paths of the tensors and of the tokenizer.
    sizes: the fields of networks.bert.Bert.
    pooling: "mean", "cls" or "max" over the hidden states of a text's tokens.
    normalise: whether the pooled vector is divided by its Euclidean norm.
    max_length: longer texts are cut to so many tokens, [CLS] and [SEP] included.
    lower_case: whether texts are put into lower case before the tokenizer.
    version: the first 16 digits of the SHA-256 of the files that decide the result.
    """

    weights: pathlib.Path
    tokenizer: pathlib.Path
    sizes: Mapping[str, Any]
    pooling: str
    normalise: bool
    max_length: int
    lower_case: bool
    version: str


def read(folder: pathlib.Path) -> ModelFolder:
    """The settings of a folder.

    Raises:
      ValueError: a missing or damaged file, another architecture, activation, module or pooling: one line.
    """
    modules_path = folder / "modules.json"
    network, pooling, normalise = folder, folder / "1_Pooling" / "config.json", False
    if modules_path.is_file():
        network, pooling, normalise = _modules(modules_path)
    weights, tokenizer, config = (network / name for name in ("model.safetensors", "tokenizer.json", "config.json"))
    for path in (config, weights, tokenizer):
        if not path.is_file():
            raise ValueError(f"{folder}: expected the folder of a sentence-transformers model, but has no {path.name}")
    limits, prompts = network / "sentence_bert_config.json", folder / "config_sentence_transformers.json"
    # The pooling's folder may be missing where no module is listed: sentence-transformers then takes the mean.
    is_pooling_optional = not modules_path.is_file()
    if prompts.is_file() and (prompt := _json(prompts).get("default_prompt_name")):
        raise ValueError(f"{prompts}: expected no default_prompt_name, got {prompt!r}: default prompts are not applied")
    sizes = _sizes(config)
    limit = _json(limits) if limits.is_file() else {}
    max_length = limit.get("max_seq_length") or sizes["max_length"]
    if not isinstance(max_length, int) or max_length < 3:
        raise ValueError(f"{limits}: max_seq_length must be a whole number >= 3, got {max_length!r}")
    files = [weights, tokenizer, config, limits, modules_path, pooling]
    return ModelFolder(
        weights=weights,
        tokenizer=tokenizer,
        sizes=sizes,
        pooling="mean" if is_pooling_optional and not pooling.is_file() else _pooling(pooling),
        normalise=normalise,
        max_length=min(max_length, sizes["max_length"]),
        lower_case=bool(limit.get("do_lower_case", False)),
        version=_version([path for path in files if path.is_file()]),
    )


def _modules(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, bool]:
    """The network's folder, the pooling's configuration and whether a Normalize module follows."""
    listed = _json(path, list)
    try:
        kinds = [module["type"].rpartition(".")[2] for module in listed]
        folders = [path.parent / module["path"] for module in listed]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: expected a list of modules, each with type and path") from error
    known = ["Transformer", "Pooling", "Normalize"]
    if kinds not in (known[:2], known):
        raise ValueError(f"{path}: expected the modules Transformer, Pooling and optionally Normalize, got {kinds}")
    return folders[0], folders[1] / "config.json", kinds == known


def _sizes(path: pathlib.Path) -> dict[str, Any]:
    """The fields of networks.bert.Bert from config.json."""
    config = _json(path)
    if config.get("model_type") != "bert":
        architectures = ", ".join(config.get("architectures") or []) or "no architecture"
        raise ValueError(
            f'{path}: expected a network of BERT\'s architecture (model_type "bert"), got '
            f"{config.get('model_type')!r} ({architectures}); encode with a function of your own instead"
        )
    for key, supported in _SUPPORTED.items():
        if config.get(key, supported) != supported:
            raise ValueError(f"{path}: expected {key} {supported!r}, got {config[key]!r}")
    sizes: dict[str, Any] = {}
    for field, key in _SIZES.items():
        size = config.get(key)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{path}: expected {key} to be a whole number >= 1, got {size!r}")
        sizes[field] = size
    if sizes["width"] % sizes["num_heads"]:
        raise ValueError(
            f"{path}: num_attention_heads must divide hidden_size, got {sizes['num_heads']} for {sizes['width']}"
        )
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise ValueError(f"{path}: expected layer_norm_eps in (0, 1), got {epsilon!r}")
    return sizes | {"epsilon": float(epsilon)}


def _pooling(path: pathlib.Path) -> str:
    """The pooling: its name in pooling_mode, or one of the flags pooling_mode_mean_tokens and so on."""
    config = _json(path)
    flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    modes = [_POOLING_FLAGS.get(key, key.removeprefix("pooling_mode_")) for key in flags]
    named = config.get("pooling_mode")
    modes = modes or ([named] if isinstance(named, str) else named) or ["mean"]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ValueError(f"{path}: expected one pooling of {', '.join(POOLINGS)}, got {' and '.join(map(str, modes))}")
    return modes[0]


def _json(path: pathlib.Path, kind: type = dict) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a JSON file ({str(error).splitlines()[0]})") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a JSON {kind.__name__}, got a {type(content).__name__}")
    return content


def _version(paths: list[pathlib.Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest() + path.name.encode() + b"\n")
    return digest.hexdigest()[:16]
