"""The host NNCF 2.19: builder, controller and what they need of its network."""
