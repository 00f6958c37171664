"""The documentation's state diagram is the table's."""

from dev import phases


def test_the_diagram_is_current() -> None:
    text = phases.DOCUMENT.read_text()
    assert "Healthy --> Progressing" in text
    assert phases.rendered(text) == text, "run `make generate`"
