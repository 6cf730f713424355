"""The ``nncf-slb`` command."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit status 0 on success, 1 for a config with problems, 2 for wrong arguments or files."""
    parser = argparse.ArgumentParser(prog="nncf-slb", description="Search for 1- to 4-bit weights with NNCF.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("schema", help="print the JSON schema of the slb section")
    checking = commands.add_parser("check", help="check NNCF configs and list every problem of their slb sections")
    checking.add_argument("config", type=Path, nargs="+", help="JSON files")
    arguments = parser.parse_args(argv)
    return _print_schema() if arguments.command == "schema" else max(_check(path) for path in arguments.config)


def _print_schema() -> int:
    from nncf_slb.config import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _check(path: Path) -> int:
    from nncf_slb.config import ConfigError, validate_nncf_config

    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        print(f"{path}: not a readable JSON file ({error})", file=sys.stderr)
        return 2
    if not isinstance(config, dict):
        print(f"{path}: holds {type(config).__name__}; a config is one JSON object", file=sys.stderr)
        return 2
    try:
        validate_nncf_config(config)
    except ConfigError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    print(f"{path}: good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
