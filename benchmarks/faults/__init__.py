"""Faults of the runtimes that exports step around, each with a minimal model; `page` writes docs/runtime-faults.md."""
