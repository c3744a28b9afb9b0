"""What the worker says instead of doing it: one sentence, and a word that tells the server what kind of fault it is."""


class Refusal(Exception):
    """kind: unsupported, not_found, data_loss (of a folder); invalid_argument (of a request, with its field); out_of_memory; internal."""

    def __init__(self, kind: str, message: str, field: str = ""):
        super().__init__(message)
        self.kind, self.message, self.field = kind, message, field

    def header(self) -> dict:
        return {"error": {"kind": self.kind, "message": self.message, "field": self.field}}


def first_line(error: BaseException, longest: int = 300) -> str:
    """An exception's own words, as far as they fit into a sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip() if lines else type(error).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"
