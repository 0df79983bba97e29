//! The configuration file: YAML, of which JSON is a part. Lines are looked up only once there is a mistake to tell.

use std::{fmt, fs, path};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::path::Path;

/// A configuration file as it was given, and its text.
pub(super) struct File {
    pub(super) name: String,
    text: String,
}

impl File {
    pub(super) fn read(name: &str, working_directory: &path::Path) -> Result<Self, String> {
        let text = fs::read_to_string(working_directory.join(name)).map_err(|error| format!("cannot read {name}: {error}"))?;
        Ok(Self { name: name.to_owned(), text })
    }

    /// Its settings, or where it is not YAML and why.
    pub(super) fn parse(&self) -> Result<Value, (String, Option<usize>)> {
        let refuse = |error: serde_yaml::Error| (format!("is not YAML: {error}"), error.location().map(|place| place.line()));
        // By way of YAML's own value, which refuses a name that stands twice.
        let value: serde_yaml::Value = serde_yaml::from_str(&self.text).map_err(refuse)?;
        match value {
            serde_yaml::Value::Null => Ok(Value::Object(Map::new())),
            value => serde_json::to_value(value).map_err(|_| ("names a setting by something that is not text".into(), None)),
        }
    }

    /// The line of a setting, or of the section where it should be.
    pub(super) fn line(&self, path: &Path) -> Option<usize> {
        (1..=path.names().len()).rev().find_map(|depth| {
            let stop = Walk(&path.names()[..depth]).deserialize(serde_yaml::Deserializer::from_str(&self.text)).err()?;
            stop.location().map(|place| place.line())
        })
    }
}

/// Walks down the names that are left, and fails at the last one: the parser says where that was.
struct Walk<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a setting")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((name, rest)) = self.0.split_first() else { return Err(stop()) };
        while let Some(found) = map.next_key_seed(Name { name, last: rest.is_empty() })? {
            if found {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((name, rest)) = self.0.split_first() else { return Err(stop()) };
        let index = name.parse::<usize>().unwrap_or(usize::MAX);
        for _ in 0..index {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk(rest))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.leaf()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.leaf()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.leaf()
    }
}

impl Walk<'_> {
    fn leaf<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.0.is_empty() { Err(stop()) } else { Ok(()) }
    }
}

/// A name in a section: whether it is the one looked for, or a stop when it is the last one.
struct Name<'a> {
    name: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, found: &str) -> Result<bool, E> {
        match found == self.name {
            true if self.last => Err(stop()),
            matches => Ok(matches),
        }
    }
}

fn stop<E: serde::de::Error>() -> E {
    E::custom("here")
}
