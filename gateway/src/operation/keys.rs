//! What works on keys of every type.

use super::Operation;

/// The operations of the group.
pub(super) const OPERATIONS: &[Operation] = &[];
