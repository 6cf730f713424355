"""Super-resolution with low-bit weights: `main` trains, tests and exports; `demo` is the whole way with one command."""
