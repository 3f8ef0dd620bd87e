"""Answers that are likely wrong, records that are like no other, and near copies that were answered differently."""

from .find import Issue, Issues, Share, find_issues
from .labelled_file import FileMaterial, LabelledFile, read_material
from .material import Answer, Material, VectorSpace, answers_of, material_of, out_of_fold
from .neighbours import Duplicate, Neighbours, Outlier

__all__ = [
    "Answer",
    "Duplicate",
    "FileMaterial",
    "Issue",
    "Issues",
    "LabelledFile",
    "Material",
    "Neighbours",
    "Outlier",
    "Share",
    "VectorSpace",
    "answers_of",
    "find_issues",
    "material_of",
    "out_of_fold",
    "read_material",
]
