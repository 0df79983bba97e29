//! The OpenAPI document: a reading of the tables.

use serde_json::{Value, json};

/// The OpenAPI 3.1 document of the data API.
pub fn document() -> Value {
    json!({"openapi": "3.1.0"})
}
