"""Hypothesis everywhere: the same examples each time, and no clock that fails a test on a busy machine.

`HYPOTHESIS_PROFILE=random` tries new examples; `tests/unit/rollout` has profiles of its own.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.register_profile("random", deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("random" if os.environ.get("HYPOTHESIS_PROFILE") else "same")
