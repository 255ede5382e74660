"""Measuring the models: `python -m braindiffusion.evaluation` writes docs/results.md, every figure with its
command.
"""
