"""``nncf-slb schema``: the JSON schema of the slb section."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any

from nncf_slb.commands.command import GOOD, Command, Result


@dataclass(frozen=True)
class _Schema:
    schema: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": self.schema}

    def to_str(self) -> str:
        return json.dumps(self.schema, indent=2)


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.config.section import json_schema

    return _Schema(json_schema()), GOOD


COMMAND = Command("schema", "print the JSON schema of the slb section", "schema > slb.json", lambda _: None, _run)
