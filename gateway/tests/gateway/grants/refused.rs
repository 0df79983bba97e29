//! What who may not administer is refused, and what does not look like a key that is granted.
