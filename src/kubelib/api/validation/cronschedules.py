"""Rules of the schedules of CronJobs."""

import re

_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_RANGES = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_part = re.compile(r"(\*|\?|[0-9A-Za-z]+(?:-[0-9A-Za-z]+)?)(?:/([0-9]+))?").fullmatch


def schedule_messages(schedule: str) -> list[str]:
    """Check a cron schedule."""
    body = re.sub(r"^(CRON_)?TZ=\S+\s+", "", schedule)
    if body.startswith("@"):
        if body in _MACROS or body.startswith("@every "):
            return []
        return [f"unrecognized descriptor: {body}"]
    fields = body.split()
    if len(fields) != 5:
        return [f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"]
    for field, (_, low, high, words) in zip(fields, _RANGES, strict=True):
        for part in field.split(","):
            if message := _cron_message(part, low, high, words):
                return [message]
    return []


def _cron_message(part: str, low: int, high: int, words: tuple[str, ...]) -> str:
    match = _part(part)
    if match is None:
        return f"failed to parse int from {part}: invalid syntax"
    if match[2] == "0":
        return f"step of range should be a positive number: {part}"
    numbers = []
    for end in match[1].split("-") if match[1] not in "*?" else ():
        if end.lower() in words:
            numbers.append(low + words.index(end.lower()))
        elif end.isdigit() and len(end) < 19:
            numbers.append(int(end))
        else:
            return f'failed to parse int from {end}: strconv.Atoi: parsing "{end}": invalid syntax'
    if numbers and numbers[0] < low:
        return f"beginning of range ({numbers[0]}) below minimum ({low}): {part}"
    if numbers and numbers[-1] > high:
        return f"end of range ({numbers[-1]}) above maximum ({high}): {part}"
    if numbers and numbers[0] > numbers[-1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[-1]}): {part}"
    return ""
