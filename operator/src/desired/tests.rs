use super::*;
use crate::render::render;

#[test]
fn nothing_yet() {}
