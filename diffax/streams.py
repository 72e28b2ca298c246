"""Streams of random numbers: what is folded into a run's one key, so that no two uses share a draw.

fold_in(key, stream) first, then fold_in by step, sample index or row. Numbers are never used again for another purpose.
"""

# Folded into the key of the run's seed.
INIT = 0  # initial parameters
TRAIN = 1  # then by step and example: times, noise, dropout, label dropping, augmentation
EVALUATE = 2  # held-out losses: the same noise at every step
SAMPLE = 3  # samples, by index
SAMPLE_LABEL = 4  # labels drawn for samples, by index
LIKELIHOOD = 5  # dequantization noise, probes and noisy data of likelihoods, by the number of the example
# Folded into the key of one sample's noise.
NOISE_SCALE = (1 << 30) + 1  # the random scale of noise that is not normal
# Folded into the key of one training example.
PREPROCESS = 1 << 30  # augmentation and dequantization
