"""The models and their settings."""

import json
from typing import Any, Dict, List, Optional

from . import _wgrec


def models(model: Optional[str] = None) -> List[Dict[str, Any]]:
    """The models, a dict each: `model`, `title`, `paper`, `behaviours`, `presets`.

    Of a `model` that is named, its settings: `setting`, `default`, `expected`, `meaning`.

    >>> pandas.DataFrame(wgrec.models("sasrec"))
    """
    rows: List[Dict[str, Any]] = json.loads(_wgrec.models(model))
    return rows
