"""How many made-up worlds are tried: the same few by default, new ones and more with `HYPOTHESIS_PROFILE=ci` or `thorough`.

The profiles are registered here and named by the tests that use them, so that no other test runs with them.
"""

from hypothesis import HealthCheck, settings

SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "rollout", max_examples=25, derandomize=True, deadline=None, suppress_health_check=SLOW_IS_FINE
)
settings.register_profile("ci", max_examples=200, deadline=None, suppress_health_check=SLOW_IS_FINE)
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=SLOW_IS_FINE)
