# SPDX-License-Identifier: Apache-2.0
"""What the suites about every operation need to know of each: a file for each family of operations.

A file may have these:

    DECLARED      right calls of each operation, for test_declarations.py
    ARGUMENTS     right arguments of each function, for test_odd_values.py
    Differential  a method case_<operation>() for each operation, for test_differential.py
    Golden        tests against the published code's values, for test_golden.py
"""

import importlib
import pathlib

FAMILIES = [
    importlib.import_module(f"families.{file.stem}") for file in sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py"))
]


def merged(what):
    """The dictionaries of all families in one."""
    return {name: value for family in FAMILIES for name, value in getattr(family, what).items()}


def classes(what):
    """The classes of all families that have one."""
    return [getattr(family, what) for family in FAMILIES if hasattr(family, what)]
