"""Text from others, cleaned for a terminal, a page or a figure."""

from unicodedata import category


def printable(text: str, most: int = 200) -> str:
    """Return text of at most ``most`` characters, without those that move a cursor or break a figure."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(f"\\x{ord(c):02x}" if category(c)[0] == "C" else c for c in text)
