"""Folders of sentence-transformers models with a tiny random BERT and a vocabulary of a few words."""

import json

import safetensors.numpy
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from diffax.networks import bert
from tests.text import bert_reference

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = ["a", "thin", "bold", "small", "large", "zero", "one", "two", "three", "four", "seven", "leaning", "to", "the"]
WORDS += ["left", "right", ",", "##s"]
VOCABULARY = {word: index for index, word in enumerate(SPECIAL + WORDS)}
DEPTH, NUM_HEADS = 2, 2
NETWORK = bert.Bert(
    vocabulary_size=len(VOCABULARY), width=8, depth=DEPTH, num_heads=NUM_HEADS, hidden_width=12, max_length=40
)
CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 8,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": NUM_HEADS,
    "intermediate_size": 12,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
POOLING = {"word_embedding_dimension": 8, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
TENSORS = bert_reference.random_tensors(bert.tensor_shapes(NETWORK))


def write(folder, *, config=CONFIG, modules=MODULES, pooling=POOLING, tensors=TENSORS, max_seq_length=20):
    """Writes a folder and returns it; None leaves a file out."""
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    tokenizer().save(str(folder / "tokenizer.json"))
    limits = None if max_seq_length is None else {"max_seq_length": max_seq_length, "do_lower_case": False}
    files = {
        "config.json": config,
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": limits,
    }
    for name, content in files.items():
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    return folder


def tokenizer():
    """A WordPiece tokenizer that pads and cuts, as those of published models do, which an encoder must not obey."""
    made = tokenizers.Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, VOCABULARY[name]) for name in ("[CLS]", "[SEP]")]
    )
    made.enable_padding(length=32)
    made.enable_truncation(10)
    return made
