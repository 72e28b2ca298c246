"""Text encoders: frozen functions from strings to vectors or token sequences, and a cache of what they return.

Encoders are the user's functions, or folders of sentence-transformers models, which run here without PyTorch. Importing
this room imports no JAX: an encoder's network is loaded when the encoder is opened.
"""

from diffax.text.cache import encoded
from diffax.text.encoder import Encoder, open_encoder

__all__ = ["Encoder", "encoded", "open_encoder"]
