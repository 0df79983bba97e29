//! End-to-end tests.

#[test]
fn nothing() {}
