//! Times that keys live by: longer than any setting of a gateway's.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// The longest.
const LONGEST: Duration = Duration::from_secs(8760 * 3600);

/// A time of at most a year, such as `720h` or `1h30m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    value: Duration,
    text: String,
}

impl Period {
    /// How long it is.
    pub fn value(&self) -> Duration {
        self.value
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let value = humantime::parse_duration(&text).ok().filter(|value| *value <= LONGEST);
        let value = value.ok_or_else(|| format!("expected a time of at most 8760h, such as `720h`, found {text:?}"))?;
        Ok(Self { value, text })
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.text
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "maxLength": 32, "pattern": "^([0-9]+(s|m|h))+$" })
    }
}
