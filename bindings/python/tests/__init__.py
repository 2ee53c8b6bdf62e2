# SPDX-License-Identifier: Apache-2.0
"""Lets the suites import their neighbours when unittest loads them as a package (discover -s tests -t .)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
