//! Durations and sizes as the configuration writes them: strings with a unit, so that no number needs a comment.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time: `250ms`, `5s`, `1m30s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    text: String,
    value: std::time::Duration,
}

impl Duration {
    /// What its text looks like, as the schema says it.
    pub const PATTERN: &'static str = r"^([0-9]+(ms|s|m|h))+$";

    /// Its length.
    pub fn value(&self) -> std::time::Duration {
        self.value
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value =
            humantime::parse_duration(text).map_err(|_| format!("expected a duration such as 250ms, 5s or 1m30s, found {text:?}"))?;
        if value > std::time::Duration::from_secs(24 * 3600) {
            return Err(format!("expected a duration of at most 24h, found {text:?}"));
        }
        Ok(Self { text: text.into(), value })
    }
}

/// A number of bytes: `512B`, `64KiB`, `16MiB`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size {
    text: String,
    bytes: usize,
}

impl Size {
    /// What its text looks like, as the schema says it.
    pub const PATTERN: &'static str = r"^[0-9]+(B|KiB|MiB|GiB)?$";

    /// Its number of bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("expected a size such as 512B, 64KiB or 16MiB, found {text:?}");
        let bytes = text.parse::<bytesize::ByteSize>().map_err(|_| refusal())?.as_u64();
        Ok(Self { text: text.into(), bytes: usize::try_from(bytes).map_err(|_| refusal())? })
    }
}

macro_rules! quantity {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(quantity: $type) -> String {
                quantity.text
            }
        }

        impl From<&'static str> for $type {
            fn from(text: &'static str) -> Self {
                text.parse().expect("a default is well-formed")
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.text)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": Self::PATTERN, "maxLength": 32 })
            }
        }
    };
}

quantity!(Duration);
quantity!(Size);
