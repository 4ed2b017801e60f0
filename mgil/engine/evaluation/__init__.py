"""Evaluation of weights on a data set."""
