"""The host NNCF 3: function hooks, which stand behind a parameter wherever the network uses it."""
