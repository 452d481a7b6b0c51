"""Errors with the place in the text where they were found, as cel-go shows them."""

from kubelib.cel.base import CelError


class Problems:
    """What is wrong with a text; collected, then raised together in the order of the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._found: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, at: int, message: str) -> None:
        """Note a problem at an offset."""
        if (at, message) not in self._found and len(self._found) < 100:
            self._found.append((at, message))

    def _shown(self, at: int, message: str) -> str:
        before = self.text[:at]
        line = before.count("\n") + 1
        column = at - (before.rfind("\n") + 1)
        content = self.text.split("\n")[line - 1].replace("\t", " ")
        head = f"ERROR: <input>:{line}:{column + 1}: {message}"
        if not content:
            return head
        # A wide character gets a wide dot, so that the caret stands below what it means.
        dots = "".join("\uff0e" if ord(letter) > 127 else "." for letter in content[:column])
        caret = "\uff3e" if column < len(content) and ord(content[column]) > 127 else "^"
        return f"{head}\n | {content}\n | {dots}{caret}"

    def raise_any(self) -> None:
        """Raise CelError when there is a problem."""
        if self._found:
            shown = "\n".join(self._shown(at, message) for at, message in sorted(self._found))
            raise CelError(f"compilation failed: {shown}")
