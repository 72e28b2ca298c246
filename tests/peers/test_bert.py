"""Text encoders against transformers' BertModel on the same folder: hidden states, and sentence vectors."""

import functools

import numpy as np
import pytest

pytest.importorskip("transformers", reason="make test-peers has it")

import torch
import transformers

from diffax import text
from diffax.text import encoder as encoders
from experiments.benchmarks.peers import torchvision_operators
from tests.text import folders

torchvision_operators.do_without()  # transformers imports torchvision with BertModel

SENTENCES = [
    "",
    "seven",
    "A thin seven leaning to the right",
    "a THIN seven, leaning to the right!",
    "The quick brown fox jumps over the lazy dog.",
    "Diffusion models learn to reverse a gradual noising process.",
    "naïve café, Ångström and straße",
    "数字の七 and число семь",
    "don't re-enter the e-mail address x.y@example.org",
    "3.14159, 2,718 and 1e-12",
    "antidisestablishmentarianism floccinaucinihilipilification",
    "  leading and trailing white space\t\n",
    "a\u0301 combining accents o\u0308 and zero\u200bwidth",
    "emoji 🙂 and symbols ∑ ∞ ≠",
    "x" * 120,
    "large " * 13,
    "small " * 14,
    "a bold zero, " * 10,
    "a text that has to be cut " * 60,
    "one two three four five six seven eight nine ten " * 4,
]


@pytest.fixture
def cases(tmp_path):
    """A folder that transformers wrote, with a tiny random network, and the installed model if there is one."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(folders.VOCABULARY),
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    folder = folders.write(tmp_path / "tiny", config=None, max_seq_length=50)
    transformers.BertModel(config).save_pretrained(folder)
    installed = encoders.encoders_directory() / encoders.INSTALLABLE
    return {"tiny": folder} | ({"installed": installed} if installed.is_dir() else {})


def peer(folder, max_length):
    """A function from a text to the last hidden states (length, width), one text at a time and without padding."""
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))

    @functools.cache
    def hidden(text):
        tokens = tokenizer(text, truncation=True, max_length=max_length, padding=False, return_tensors="pt")
        with torch.inference_mode():
            return model(input_ids=tokens["input_ids"]).last_hidden_state[0].numpy()

    return hidden


def test_encoders_equal_transformers(cases):
    for name, folder in cases.items():
        opened = text.open_encoder(str(folder), form="tokens")
        hidden = peer(folder, opened.function.max_length)
        sequences, vectors = opened(SENTENCES), text.open_encoder(str(folder))(SENTENCES)
        largest = {"tokens": 0.0, "vector": 0.0}
        for each, sequence, vector in zip(SENTENCES, sequences, vectors, strict=True):
            mean = torch.from_numpy(hidden(each)).mean(0)
            expected = torch.nn.functional.normalize(mean, dim=0).numpy()
            assert sequence.shape == hidden(each).shape, each
            largest["tokens"] = max(largest["tokens"], float(np.abs(sequence - hidden(each)).max()))
            largest["vector"] = max(largest["vector"], float(np.abs(vector - expected).max()))
        print(f"{name}: largest differences {largest}")
        assert largest["tokens"] < 1e-5 and largest["vector"] < 1e-5, name
