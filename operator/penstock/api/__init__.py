"""The kinds of penstock.dev, one package a version."""
