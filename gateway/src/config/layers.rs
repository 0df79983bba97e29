//! The configuration while it is put together: a later layer wins, every setting remembers who gave it, and what is
//! wrong is told and left out, so that one run tells all mistakes.

use std::collections::BTreeMap;

use dbx_crds::shape::{Kind, Shape};
use serde_json::{Map, Value};

use super::{
    mistake::{ConfigError, Source},
    path::Path,
    suggest,
};

#[derive(Default)]
pub(super) struct Layers {
    value: Value,
    /// Who gave what is at a path; what is below an entry without one of its own is from the same source.
    sources: BTreeMap<Path, Source>,
    pub(super) mistakes: Vec<ConfigError>,
}

impl Layers {
    /// Takes a setting, or a section of settings, that came as structured data.
    pub(super) fn give(&mut self, path: &Path, value: Value, source: &Source) {
        let Some(shape) = self.shape(path, source) else { return };
        if let Some(value) = self.check(shape, path, value, source) {
            self.merge(shape, path, value, source);
        }
    }

    /// Takes a setting that came as text: the setting decides what the text means.
    pub(super) fn give_text(&mut self, path: &Path, text: &str, source: &Source) {
        let Some(shape) = self.shape(path, source) else { return };
        match typed(&shape.kind, text) {
            Some(value) => self.give(path, value, source),
            None => self.refuse(path, source, format!("expected {}", shape.kind.expected())),
        }
    }

    /// Takes a value in place of everything that was at its path.
    pub(super) fn replace(&mut self, path: &Path, value: Value, source: &Source) {
        self.remove(path);
        self.give(path, value, source);
    }

    pub(super) fn refuse(&mut self, path: &Path, source: &Source, message: impl Into<String>) {
        self.mistakes.push(ConfigError { path: path.to_string(), origin: source.clone(), message: message.into() });
    }

    /// What is at a path.
    pub(super) fn at(&self, path: &Path) -> &Value {
        path.names().iter().fold(&self.value, |value, name| match name.parse::<usize>() {
            Ok(index) => &value[index],
            Err(_) => &value[name],
        })
    }

    /// Who gave what is at a path: the entry of it, else of what it is in, else of something in it.
    pub(super) fn source(&self, path: &Path) -> Source {
        let around = (0..=path.names().len()).rev().find_map(|depth| self.sources.get(&path.prefix(depth)));
        let within = || self.sources.iter().find(|(given, _)| given.starts_with(path)).map(|(_, source)| source);
        around.or_else(within).cloned().unwrap_or(Source::Default)
    }

    /// Tells which settings that cannot be left out are left out.
    pub(super) fn require(&mut self) {
        let mut missing = Vec::new();
        absent(Shape::config(), &Path::default(), &self.value, &mut missing);
        for (path, expected) in missing {
            let source = self.source(&path);
            self.refuse(&path, &source, format!("is missing, expected {expected}"));
        }
    }

    fn shape(&mut self, path: &Path, source: &Source) -> Option<&'static Shape> {
        match Shape::config().at(path.names()) {
            Ok(shape) => Some(shape),
            Err(known) => {
                self.refuse_unknown(path, known, source);
                None
            }
        }
    }

    fn refuse_unknown(&mut self, path: &Path, known: usize, source: &Source) {
        let outer = Shape::config().at(path.prefix(known).names()).ok().map(|shape| &shape.kind);
        let message = match (outer, suggest::nearest(path, known)) {
            (Some(Kind::List(_)), _) => format!("unknown setting: `{}` is a list, whose items are numbered from 0", path.prefix(known)),
            (_, Some(meant)) => {
                let meant = match source {
                    Source::Environment(_) | Source::DotEnv(_) => meant.environment(),
                    Source::Flag(_) => meant.dotted(),
                    _ => meant.to_string(),
                };
                format!("unknown setting, did you mean `{meant}`?")
            }
            (Some(Kind::Section(settings, _)), None) => {
                let names: Vec<&str> = settings.keys().map(String::as_str).collect();
                format!("unknown setting, expected one of {}", names.join(", "))
            }
            (Some(kind), None) => format!("unknown setting: `{}` is {}", path.prefix(known), kind.expected()),
            (None, None) => "unknown setting".into(),
        };
        self.refuse(path, source, message);
    }

    /// The value without what is wrong in it.
    fn check(&mut self, shape: &Shape, path: &Path, value: Value, source: &Source) -> Option<Value> {
        match (&shape.kind, value) {
            (_, Value::Null) => Some(Value::Null),
            (Kind::Section(settings, _), Value::Object(given)) => {
                let mut sound = Map::new();
                for (name, value) in given {
                    let path = path.join(&name);
                    match settings.get(&name) {
                        None => self.refuse_unknown(&path, path.names().len() - 1, source),
                        Some(shape) => sound.extend(self.check(shape, &path, value, source).map(|value| (name, value))),
                    }
                }
                Some(Value::Object(sound))
            }
            (Kind::List(item), Value::Array(given)) => {
                let mut sound = Vec::new();
                for (index, value) in given.into_iter().enumerate() {
                    let path = path.join(index.to_string());
                    if value.is_null() {
                        self.refuse(&path, source, format!("expected {}, found nothing", item.kind.expected()));
                    }
                    // What is wrong stays as nothing, so that the items after it keep their numbers.
                    sound.push(self.check(item, &path, value, source).unwrap_or_default());
                }
                Some(Value::Array(sound))
            }
            (kind, value) if holds(kind, &value) => Some(value),
            (kind, value) => {
                self.refuse(path, source, format!("expected {}, found {}", kind.expected(), found(kind, &value)));
                None
            }
        }
    }

    fn merge(&mut self, shape: &Shape, path: &Path, value: Value, source: &Source) {
        match (&shape.kind, value) {
            (Kind::Section(settings, _), Value::Object(given)) if !given.is_empty() => {
                for (name, value) in given {
                    self.merge(&settings[&name], &path.join(&name), value, source);
                }
            }
            (Kind::Section(..), value @ Value::Object(_)) => {
                if self.at(path).is_null() {
                    self.put(path, value, source);
                }
            }
            (_, Value::Null) => self.remove(path),
            (_, value) => {
                self.remove(path);
                self.put(path, value, source);
            }
        }
    }

    fn put(&mut self, path: &Path, value: Value, source: &Source) {
        let mut place = &mut self.value;
        for (depth, name) in path.names().iter().enumerate() {
            place = match name.parse::<usize>() {
                Err(_) => {
                    if !place.is_object() {
                        *place = Value::Object(Map::new());
                    }
                    &mut place[name]
                }
                Ok(index) => {
                    if !place.is_array() {
                        *place = Value::Array(Vec::new());
                    }
                    let items = place.as_array_mut().expect("it was made one above");
                    let next = items.len();
                    if index > next {
                        let item = path.prefix(depth + 1);
                        return self.refuse(&item, source, format!("leaves a gap: the next item of the list is {next}"));
                    }
                    if index == next {
                        items.push(Value::Null);
                    }
                    &mut items[index]
                }
            };
        }
        *place = value;
        self.sources.insert(path.clone(), source.clone());
    }

    fn remove(&mut self, path: &Path) {
        self.sources.retain(|given, _| !given.starts_with(path));
        if let Some(place) = self.value.pointer_mut(&pointer(path)) {
            *place = Value::Null;
        }
    }

    /// The value without what was taken back.
    pub(super) fn finish(&self) -> Value {
        strip(self.value.clone())
    }
}

fn strip(value: Value) -> Value {
    match value {
        Value::Object(given) => {
            Value::Object(given.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, strip(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(strip).collect()),
        Value::Null => Value::Object(Map::new()),
        value => value,
    }
}

fn pointer(path: &Path) -> String {
    path.names().iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

fn absent(shape: &Shape, path: &Path, value: &Value, missing: &mut Vec<(Path, String)>) {
    match (&shape.kind, value) {
        (Kind::Section(settings, required), Value::Object(given)) => {
            for (name, shape) in settings {
                match given.get(name) {
                    Some(value) if !value.is_null() => absent(shape, &path.join(name), value, missing),
                    _ if required.contains(name) => missing.push((path.join(name), shape.kind.expected())),
                    _ => {}
                }
            }
        }
        (Kind::List(item), Value::Array(given)) => {
            for (index, value) in given.iter().enumerate() {
                absent(item, &path.join(index.to_string()), value, missing);
            }
        }
        _ => {}
    }
}

fn typed(kind: &Kind, text: &str) -> Option<Value> {
    let yaml = || serde_yaml::from_str::<Value>(text).ok();
    match kind {
        Kind::Text | Kind::Duration | Kind::Size | Kind::Word(_) => Some(text.into()),
        Kind::Count(..) => Some(text.trim().parse::<i64>().map_or_else(|_| text.into(), Value::from)),
        Kind::Switch => Some(text.trim().parse::<bool>().map_or_else(|_| text.into(), Value::from)),
        Kind::Section(..) | Kind::Map(_) | Kind::Verbatim => yaml(),
        Kind::List(item) => match (&item.kind, yaml()) {
            (Kind::Text, None | Some(Value::String(_))) => Some(text.split(',').map(str::trim).collect()),
            (_, value) => value,
        },
    }
}

fn holds(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Text, Value::String(_)) | (Kind::Switch, Value::Bool(_)) => true,
        (Kind::Duration, Value::String(text)) => text.parse::<dbx_crds::config::Duration>().is_ok(),
        (Kind::Size, Value::String(text)) => text.parse::<dbx_crds::config::Size>().is_ok(),
        (Kind::Count(least, most), Value::Number(number)) => number.as_i64().is_some_and(|count| (*least..=*most).contains(&count)),
        (Kind::Word(words), Value::String(word)) => words.contains(word),
        (Kind::Map(_) | Kind::Verbatim, Value::Object(_)) => true,
        _ => false,
    }
}

/// What is there instead: never the text where text was wanted, or where a section was, since it may be a password.
fn found(kind: &Kind, value: &Value) -> String {
    let scalar = matches!(kind, Kind::Count(..) | Kind::Switch | Kind::Word(_) | Kind::Duration | Kind::Size);
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) if scalar => value.to_string(),
        Value::Null => "nothing".into(),
        Value::Bool(_) | Value::Number(_) if matches!(kind, Kind::Text) => "no text; put it in quotes".into(),
        Value::Bool(_) => "true or false".into(),
        Value::Number(_) => "a number".into(),
        Value::String(_) => "text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "settings by name".into(),
    }
}
