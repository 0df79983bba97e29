//! Times in the file of keys.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// A time to the second: `2026-11-25T03:00:00Z`. It is written in UTC, so that times can be compared by eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(SystemTime);

/// Seconds from 1970 to the end of the year 9999, the last that four digits can write.
const LAST: u64 = 253_402_300_799;

impl Time {
    /// When that is.
    pub fn value(self) -> SystemTime {
        self.0
    }
}

impl From<SystemTime> for Time {
    /// Fractions of a second are cut off, and so is what is outside of the years 1970 to 9999.
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = humantime::parse_rfc3339(text);
        time.map(Self::from).map_err(|_| format!("expected a time in UTC such as 2026-11-25T03:00:00Z, found {text:?}"))
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for text in ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        assert_eq!("2026-11-25T03:00:00.999+00:00".parse::<Time>().unwrap().to_string(), "2026-11-25T03:00:00Z");
        let end = UNIX_EPOCH + Duration::from_secs(u64::MAX / 4);
        assert_eq!(Time::from(end).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Time::from(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2026-11-25",
            "2026-11-25T03:00:00",
            "2026-11-25T03:00:00+01:00",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "äääääääääääääää",
        ] {
            assert_eq!(text.parse::<Time>().unwrap_err(), format!("expected a time in UTC such as 2026-11-25T03:00:00Z, found {text:?}"));
        }
    }
}
