"""Penstock: progressive delivery for MLflow models on Kubernetes."""
