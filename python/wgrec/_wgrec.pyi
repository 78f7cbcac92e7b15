# The module in Rust. The package's other modules are what people call.
from os import PathLike
from pathlib import Path
from typing import Callable, List, Optional, Tuple, Union

VERSION: str

class InputError(ValueError):
    """Wrong input or usage: what was found and what was expected."""

class RunError(RuntimeError):
    """A run that failed: a full disk, a lost device."""

class NotFiniteError(RunError):
    """A loss, a parameter or a score that is not finite: a training diverged."""

_Path = Union[str, "PathLike[str]"]

def models(model: Optional[str]) -> str: ...
def train(
    model: str,
    path: Optional[_Path],
    stream: Optional[object],
    settings: List[Tuple[str, str]],
    out: Optional[_Path],
    preset: Optional[str],
    config: Optional[_Path],
    resume: bool,
    show: Optional[Callable[[str, bool], None]],
) -> Path: ...

class Run:
    def __init__(self, path: _Path, data: Optional[_Path], device: Optional[str]) -> None: ...
    def settings(self) -> str: ...
    def metrics(self) -> Optional[str]: ...
    def history(self) -> str: ...
    def integer_ids(self) -> List[bool]: ...
    def recommend(
        self,
        names: Optional[List[str]],
        path: Optional[_Path],
        stream: Optional[object],
        pairs: Optional[Tuple[List[str], List[str]]],
        k: int,
        unmasked: bool,
    ) -> Tuple[List[str], List[int], List[str], bytearray]: ...
    def items(self) -> Tuple[List[str], bytearray, int, Optional[bytearray]]: ...
    def users(self) -> Tuple[List[str], bytearray, int]: ...
    def compare(self, other: "Run", metrics: List[str]) -> str: ...
