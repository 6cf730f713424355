"""Every setting once: types, validation, JSON schema, reference, errors."""
