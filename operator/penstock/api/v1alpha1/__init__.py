"""Version v1alpha1: one module a kind, pydantic models that are the single source of the CRDs."""
