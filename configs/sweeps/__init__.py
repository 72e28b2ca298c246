"""Sweep files: what launch.py --sweep trains over a config."""
