"""Likelihoods and bounds on them."""
