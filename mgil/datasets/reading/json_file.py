"""JSON files of whatever layout."""

from __future__ import annotations

import json
from typing import Any

from mgil.files.text import printable


def read_json_file(json_path: str) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no JSON; names the file.
    """
    try:
        with open(json_path, "rb") as file:
            return json.load(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{printable(json_path)}: not a UTF-8 text file") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{printable(json_path)}, line {error.lineno}: not valid JSON ({error.msg})") from error
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"{printable(json_path)}: not a COCO json ({error})") from error
    except RecursionError as error:
        raise ValueError(f"{printable(json_path)}: nested too deeply to be a COCO json") from error


def is_coco(content: Any) -> bool:
    """Whether content is in COCO's layout."""
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    )
