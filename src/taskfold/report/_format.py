"""Numbers in readable form."""

from __future__ import annotations

MINUS = "\u2212"


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as a percentage without its sign.

    >>> percent(0.9612)
    '96.1'
    """
    return f"{100 * fraction:.{digits}f}"


def signed(number: float) -> str:
    """A gain in %, always with its sign.

    >>> signed(3.14), signed(-0.96), signed(0.01)
    ('+3.1', '−1.0', '0.0')
    """
    text = f"{abs(number):.1f}"
    return text if float(text) == 0 else ("+" if number > 0 else MINUS) + text


def alike(number: float, pattern: str) -> str:
    """A spread with as many decimals as its printed number, or more if no digit would be left.

    >>> alike(0.01234, "0.5123"), alike(0.5312, "20.12"), alike(0.0004, "0.5"), alike(12.3, "1.2e+05")
    ('0.0123', '0.53', '0.0004', '12.3')
    """
    if not pattern.replace(".", "").replace("-", "").isdecimal():
        return f"{number:.4g}"
    text = f"{number:.{len(pattern.partition('.')[2])}f}"
    return text if float(text) or not number else f"{number:.1g}"


def share(fraction: float) -> str:
    """A share in percent, with enough digits to tell small ones apart.

    >>> share(0.0513), share(0.00031), share(1.0), share(0.0)
    ('5.1 %', '0.031 %', '100 %', '0 %')
    """
    value = 100 * fraction
    if value == 0:
        return "0 %"
    digits = 0 if value >= 99.95 else 1 if value >= 1 else 2 if value >= 0.1 else 3
    return f"{value:.{digits}f} %"


def count(number: float) -> str:
    """A number of parameters.

    >>> count(812), count(12_810), count(128_000), count(3_371_008), count(1.1e9)
    ('812', '12.8 k', '128 k', '3.37 M', '1.1 G')
    """
    return _scaled(number, ("", " k", " M", " G", " T"))


def size(number: float) -> str:
    """A number of bytes, in powers of 1000.

    >>> size(512), size(730_112), size(13_484_032)
    ('512 B', '730 kB', '13.5 MB')
    """
    return _scaled(number, (" B", " kB", " MB", " GB", " TB"))


def duration(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def shorten(text: str, length: int = 22) -> str:
    """Shorten a text in the middle, since both ends distinguish names.

    >>> shorten("encoder.layer.11.attention.query", 20)
    'encoder.la…ion.query'
    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


def _scaled(number: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(number) >= 999.5 and power < len(units) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.3g}{units[power]}"
