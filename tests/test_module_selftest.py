"""The module's own self-test on the true engine, as a user of 3D Slicer would run it."""

from __future__ import annotations

import unittest

import pytest

from desktop_host import core  # noqa: F401


@pytest.mark.slow
@pytest.mark.usefixtures("core", "qtbot")
def test_the_self_test_passes():
    import slicer

    from SlicerDiffusion import SlicerDiffusionTest
    from SlicerDiffusionLib import jobs

    try:
        outcome = unittest.TestResult()
        SlicerDiffusionTest("runTest").run(outcome)
    finally:
        jobs.shared().close()
        delattr(slicer.modules, jobs._SHARED)
    assert outcome.wasSuccessful(), [text for _, text in (*outcome.errors, *outcome.failures)]
    assert outcome.testsRun == 1
