"""Languages by their English names, as simplemma's codes."""

from __future__ import annotations

from .. import lemmas

CODES = {
    "Asturian": "ast", "Bulgarian": "bg", "Catalan": "ca", "Czech": "cs", "Welsh": "cy", "Danish": "da",
    "German": "de", "English": "en", "Spanish": "es", "Finnish": "fi", "Irish": "ga", "Manx": "gv",
    "Serbo-Croatian": "hbs", "Indonesian": "id", "Icelandic": "is", "Italian": "it", "Latin": "la",
    "Luxembourgish": "lb", "Lithuanian": "lt", "Malay": "ms", "Bokmål": "nb", "Dutch": "nl", "Portuguese": "pt",
    "Romanian": "ro", "Russian": "ru", "Northern Sámi": "se", "Slovene": "sl", "Albanian": "sq", "Swedish": "sv",
    "Tagalog": "tl", "Galician": "gl", "Nynorsk": "nn", "Slovak": "sk", "Estonian": "et", "Scottish Gaelic": "gd",
    "Latvian": "lv", "Ukrainian": "uk",
}  # fmt: skip
_NAMES = {code: name for name, code in CODES.items()}

TRAINING = tuple(_NAMES[code] for code in lemmas.TRAINING)
HELD_OUT = tuple(_NAMES[code] for code in lemmas.HELD_OUT)
