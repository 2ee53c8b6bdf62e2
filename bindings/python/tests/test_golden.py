# SPDX-License-Identifier: Apache-2.0
"""The golden vectors: what the published code of each task computes."""

import unittest

from families import classes


class Golden(*classes("Golden")):
    """The tests of all families."""


if __name__ == "__main__":
    unittest.main()
