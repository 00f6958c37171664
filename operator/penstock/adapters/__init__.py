"""One module an external system; each translates that system's errors at its edge."""
