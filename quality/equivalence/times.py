"""Times of the day and dates, in the spellings that answers use."""

import datetime
import re

_TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(?:([ap])\.?\s*m\.?)?", re.IGNORECASE)
_SAID = {"noon": "12:00 PM", "midnight": "12:00 AM"}
_NAMES = "january february march april may june july august september october november december"
_MONTHS = _NAMES.split()
_MONTH = "(" + "|".join(f"{month[:3]}(?:{month[3:]})?" for month in _MONTHS) + r"|sept)\.?"
_DATES = (
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})"),
    re.compile(r"(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d{4})"),
    re.compile(rf"(?P<m>{_MONTH})\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<y>\d{{4}}))?", re.IGNORECASE),
    re.compile(
        rf"(?:the\s+)?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<m>{_MONTH})(?:,?\s+(?P<y>\d{{4}}))?",
        re.IGNORECASE,
    ),
)


def same_time(gold: str, answer: str) -> bool | None:
    """Whether two times or two dates are the same; None unless both are times, or both are dates."""
    gold, answer = _plain(gold), _plain(answer)
    a, b = _date(gold), _date(answer)
    if a is not None and b is not None:
        return a == b
    x, y = _time(gold), _time(answer)
    if x is None or y is None:
        return None
    if x == y:
        return True
    # One of them does not say whether it is morning or afternoon.
    return (x[0] % 12, *x[1:3]) == (y[0] % 12, *y[1:3]) and not (x[3] and y[3])


def _plain(text: str) -> str:
    text = _SAID.get(text.strip(" .").lower(), text.replace("{:}", ":"))
    text = re.sub(r"(\d)\s*o'?clock", r"\1:00", text)
    text = re.sub(r"\\(?:text|mathrm|textrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text)
    return " ".join(re.sub(r"[$~]|\\[,;: ()\[\]]", " ", text).split()).rstrip(".")


def _time(text: str) -> tuple[int, int, int, bool] | None:
    """Hour of 24, minute, second, and whether the half of the day is known."""
    match = _TIME.fullmatch(text)
    if match is None or not (match[2] or match[4]):
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if hour > 24 or minute > 59 or second > 59 or (match[4] and not 1 <= hour <= 12):
        return None
    if match[4]:
        hour = hour % 12 + (12 if match[4].lower() == "p" else 0)
    return hour, minute, second, match[4] is not None or hour > 12


def _date(text: str) -> tuple[int, int, int] | None:
    """Year (0 where it is not said), month, day."""
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            month_text = match["m"]
            month = int(month_text) if month_text.isdigit() else _month(month_text)
            year, day = int(match["y"] or 0), int(match["d"])
            try:
                datetime.date(year or 2000, month, day)
            except ValueError:
                return None
            return year, month, day
    return None


def _month(text: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(text.lower()[:3]))
