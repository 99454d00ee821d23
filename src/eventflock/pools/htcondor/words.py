# A placeholder by the lead, for trying the rest; replace this file.
from typing import NamedTuple
class Words(NamedTuple):
    sentence: str
    remedy: str
    cause: str
def hold_in_words(code: int, subcode: int, reason: str) -> Words:
    return Words(reason, "", "unknown")
def eviction_in_words(reason: str) -> str:
    return reason
