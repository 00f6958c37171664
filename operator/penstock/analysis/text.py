"""Foreign text in sentences: no longer than there is room for. Pure."""


def cut(text: str, longest: int) -> str:
    """The text, cut off after so many characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def one_line(text: str, longest: int) -> str:
    """The same on one line."""
    return cut(" ".join(text.split()), longest)
