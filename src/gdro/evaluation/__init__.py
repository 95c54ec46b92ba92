"""Evaluate a model on sets of problems: mean@k, unbiased pass@k, majority votes, comparisons."""

from gdro.evaluation.compare import compare
from gdro.evaluation.records import EvaluationError, Record, read_records
from gdro.evaluation.run import Options, evaluate
from gdro.evaluation.scores import scores
from gdro.evaluation.table import comparison_table, markdown

__all__ = [
    "EvaluationError",
    "Options",
    "Record",
    "compare",
    "comparison_table",
    "evaluate",
    "markdown",
    "read_records",
    "scores",
]
