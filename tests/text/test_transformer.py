"""Encoders in folders against the float64 transformer; padding and batches change nothing; damaged folders."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import text
from diffax.networks import bert
from diffax.text import model_folder, transformer
from tests.text import bert_reference, folders

SENTENCE = "a thin seven leaning to the left"  # 9 tokens with [CLS] and [SEP]
LONG = "a bold zero, " * 9  # 38 tokens, cut to 20
TEXTS = [SENTENCE, "Zeros", "", LONG, "one two  three FOUR unheard-of", "small"]


def words(text, limit=20):
    """[CLS], the words' indices and [SEP], at most `limit`, by the rules of WordPiece for this vocabulary."""
    pieces = text.lower().replace(",", " , ").replace("-", " - ").replace("zeros", "zero ##s").split()
    indices = [folders.VOCABULARY.get(piece, folders.VOCABULARY["[UNK]"]) for piece in pieces]
    return np.array([2, *indices[: limit - 2], 3])


def reference(text, limit=20):
    return bert_reference.hidden_states(folders.TENSORS, folders.DEPTH, folders.NUM_HEADS, words(text, limit))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def encoder(folder):
    return text.open_encoder(str(folder))


def test_vectors_are_normalised_means_over_tokens(encoder):
    means = [reference(each).mean(0) for each in TEXTS]
    for vector, mean in zip(encoder(TEXTS), means, strict=True):
        assert vector.shape == (8,) and vector.dtype == np.float32
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=2e-5)


def test_tokens_are_the_last_hidden_states(folder):
    encoder = text.open_encoder(str(folder), form="tokens")
    found = encoder(TEXTS)
    for sequence, each in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(sequence, reference(each), atol=3e-5)
    assert [len(sequence) for sequence in found] == [9, 4, 2, 20, 9, 3]
    # The same function, so that nothing compiles again.
    cut = dataclasses.replace(encoder, max_tokens=4)(TEXTS)
    for sequence, whole in zip(cut, found, strict=True):
        np.testing.assert_array_equal(sequence, whole[:4])


def test_padding_changes_nothing(folder, encoder):
    """The same tokens, padded to two lengths."""
    batch = [words(SENTENCE), words("small")]
    shorter, longer = (encoder.function._encode(batch, 512 // length, length)[:2] for length in (16, 20))
    np.testing.assert_allclose(shorter, longer, atol=1e-6)


def test_the_other_texts_of_a_batch_change_nothing(encoder):
    rng = np.random.default_rng(0)
    many = [" ".join(rng.choice(folders.WORDS[:-1], rng.integers(1, 25))) for _ in range(150)]
    together = dict(zip([*many, *TEXTS], encoder([*many, *TEXTS]), strict=True))
    for each in [*TEXTS, many[0]]:
        np.testing.assert_allclose(encoder([each])[0], together[each], atol=1e-6)
    assert encoder([]) == []


def test_poolings():
    hidden = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    lengths = (5, 2, 1)
    mask = np.arange(5)[None] < np.asarray(lengths)[:, None]
    rows = [hidden[row, :length].astype(np.float64) for row, length in enumerate(lengths)]
    expected = {"mean": [row.mean(0) for row in rows], "max": [row.max(0) for row in rows], "cls": [r[0] for r in rows]}

    def all_of(hidden, mask):
        plain = {name: transformer.pooled(hidden, mask, name, normalise=False) for name in expected}
        return plain, transformer.pooled(0 * hidden, mask, "mean", normalise=True)

    found, zeros = jax.jit(all_of)(jnp.asarray(hidden), jnp.asarray(mask))
    for name, vectors in expected.items():
        np.testing.assert_allclose(found[name], vectors, atol=1e-6)
    np.testing.assert_array_equal(zeros, 0)


def test_settings_of_a_folder(tmp_path):
    def read(name, **changed):
        settings = model_folder.read(folders.write(tmp_path / name, **changed))
        return settings.pooling, settings.normalise, settings.max_length

    flags = {"pooling_mode_mean_tokens": False}
    assert read("plain") == ("mean", True, 20)
    assert read("short", modules=folders.MODULES[:2]) == ("mean", False, 20)
    assert read("cls", pooling=flags | {"pooling_mode_cls_token": True}) == ("cls", True, 20)
    assert read("max", modules=None, pooling=flags | {"pooling_mode_max_tokens": True}) == ("max", False, 20)
    assert read("named", pooling={"pooling_mode": "cls"}, max_seq_length=None) == ("cls", True, 40)
    assert read("network alone", modules=None, pooling=None, max_seq_length=900) == ("mean", False, 40)


def test_the_version_is_that_of_every_file_that_matters(tmp_path, encoder):
    versions = {encoder.version, text.open_encoder(str(folders.write(tmp_path / "copy"))).version}
    assert len(versions) == 1 and len(encoder.version) == 16  # the same files in another place
    half = {name: value.astype(np.float16) for name, value in folders.TENSORS.items()}
    opened = text.open_encoder(str(folders.write(tmp_path / "half", tensors=half)))
    rounded = bert.params_from(folders.NETWORK, half, "")
    jax.tree.map(np.testing.assert_array_equal, opened.function.params, rounded)
    versions.add(opened.version)
    for name, content in [
        ("config.json", folders.CONFIG | {"note": 1}),
        ("modules.json", folders.MODULES[:2]),
        ("1_Pooling/config.json", {"pooling_mode": "max"}),
        ("sentence_bert_config.json", {"max_seq_length": 10, "do_lower_case": True}),
    ]:
        folder = folders.write(tmp_path / name.replace("/", "-"))
        (folder / name).write_text(json.dumps(content))
        versions.add(model_folder.read(folder).version)
    assert len(versions) == 6
    assert model_folder.read(folder).lower_case and not model_folder.read(tmp_path / "copy").lower_case


def test_an_installed_encoder_has_a_name(cache, monkeypatch):
    with pytest.raises(ValueError, match=r"^the text encoder 'all-minilm-l6-v2' is not installed: run make text-enc"):
        text.open_encoder("all-minilm-l6-v2")
    folders.write(cache / "text_encoders" / "tiny")
    assert text.open_encoder("tiny").name == "tiny"
    with pytest.raises(ValueError, match=r"there is no text encoder 'small': .*an installed one \(tiny\)$"):
        text.open_encoder("small")
    for package in ("safetensors", "tokenizers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ValueError, match=rf"needs the package {package}: pip install 'diffax\[text\]'$"):
                text.open_encoder("tiny")


def without(name):
    return lambda folder: (folder / name).unlink()


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


def changed(name, **content):
    def change(folder):
        before = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(before | content))

    return change


def listed(*kinds):
    modules = [{"path": "1_Pooling", "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    return lambda folder: (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("model.safetensors"), r"expected the folder of a sentence-transformers model, but .* no model\.saf"),
        (without("tokenizer.json"), r"has no tokenizer\.json$"),
        (without("config.json"), r"has no config\.json$"),
        (without("1_Pooling/config.json"), r"1_Pooling/config\.json: expected a JSON file"),
        (cut("model.safetensors"), r"model\.safetensors: truncated or damaged"),
        (cut("tokenizer.json"), r"tokenizer\.json: damaged, or no tokenizer"),
        (cut("config.json"), r"config\.json: expected a JSON file"),
        (
            changed("config.json", model_type="mpnet", architectures=["MPNetForMaskedLM"]),
            r"BERT's architecture .* got 'mpnet' \(MPNetForMaskedLM\)",
        ),
        (changed("config.json", hidden_act="relu"), r"expected hidden_act 'gelu', got 'relu'"),
        (changed("config.json", hidden_size=None), r"expected hidden_size to be a whole number >= 1, got None"),
        (changed("config.json", num_attention_heads=3), r"num_attention_heads must divide hidden_size, got 3 for 8"),
        (changed("config.json", layer_norm_eps="x"), r"expected layer_norm_eps in \(0, 1\), got 'x'"),
        (
            changed("config.json", num_hidden_layers=3),
            r"model\.safetensors: expected .* no tensor 'encoder\.layer\.2\.",
        ),
        (changed("config.json", vocab_size=10), r"expected 'embeddings\.word_.*' of shape \(10, 8\), got \(22, 8\)"),
        (changed("1_Pooling/config.json", pooling_mode_lasttoken=True), r"one pooling of mean, cls, max, .*lasttoken"),
        (changed("1_Pooling/config.json", pooling_mode_max_tokens=True), r"got mean and max$"),
        (changed("sentence_bert_config.json", max_seq_length=2), r"max_seq_length must be a whole number >= 3, got 2"),
        (listed("Transformer", "Pooling", "Dense"), r"modules\.json: expected the modules .*'Dense'\]$"),
        (listed(), r"modules\.json: expected the modules Transformer, Pooling and optionally Normalize, got \[\]$"),
    ],
)
def test_a_wrong_folder_is_refused_in_a_line(tmp_path, damage, message):
    folder = folders.write(tmp_path / "model")
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        text.open_encoder(str(folder))
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_indices_of_the_tokenizer_are_those_of_the_network(tmp_path):
    """JAX would take the last embedding for an index beyond them."""
    config, network = folders.CONFIG | {"vocab_size": 20}, folders.NETWORK.clone(vocabulary_size=20)
    tensors = bert_reference.random_tensors(bert.tensor_shapes(network))
    folder = folders.write(tmp_path / "model", config=config, tensors=tensors)
    with pytest.raises(ValueError, match=r"tokenizer\.json: the network has 20 tokens, but .* indices reach 21$"):
        text.open_encoder(str(folder))


def test_default_prompts_are_refused(tmp_path):
    folder = folders.write(tmp_path / "model")
    (folder / "config_sentence_transformers.json").write_text('{"default_prompt_name": "query"}')
    with pytest.raises(ValueError, match=r"expected no default_prompt_name, got 'query'"):
        text.open_encoder(str(folder))
