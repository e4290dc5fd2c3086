"""Explains the errors of orbax and tensorstore, which are of many types and whose messages run over pages."""


def is_elsewhere(error: Exception) -> bool:
    """Returns whether an error is of the storage or the network, not of the checkpoint's content."""
    codes = ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
    known = isinstance(error, PermissionError | ConnectionError | TimeoutError)
    return known or any(code in str(error) for code in codes)


def reason(error: Exception | None) -> str:
    """Shortens an error to a line; None stands for that of another process."""
    if error is None:
        return "another process could not read it"
    text = " ".join(str(error).split()).split(". Truncating/padding")[0]  # advice for programmers follows
    if "RESOURCE_EXHAUSTED" in text or "No space left" in text:
        return "no space left on the device"
    text = text.split(" See full TensorStore details: <")[0]  # orbax prints a method there by mistake
    return text[:200] or type(error).__name__
