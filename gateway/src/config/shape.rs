//! What settings exist and what each one wants, read from the JSON schema of [`GatewayConfig`]. Checking, typing,
//! suggesting and the reference page are readings of this tree, so a new setting needs no edit here.

use std::{collections::BTreeMap, sync::LazyLock};

use dbx_crds::config::{Duration, GatewayConfig, Size};
use serde_json::Value;

use super::path::Path;

/// One setting, or a section of settings.
#[derive(Debug)]
pub(super) struct Shape {
    /// What it is for, as the type's documentation says.
    pub(super) description: String,
    /// What it wants.
    pub(super) kind: Kind,
}

/// What a setting wants.
#[derive(Debug)]
pub(super) enum Kind {
    /// Settings by name, and the names of those that cannot be left out.
    Section(BTreeMap<String, Shape>, Vec<String>),
    /// Any number of the same.
    List(Box<Shape>),
    /// Any text.
    Text,
    /// A length of time.
    Duration,
    /// A number of bytes.
    Size,
    /// A whole number in a range.
    Count(i64, i64),
    /// `true` or `false`.
    Switch,
    /// One of some words.
    Word(Vec<String>),
}

static ROOT: LazyLock<Shape> = LazyLock::new(|| Shape::read(GatewayConfig::schema().as_value()));

impl Shape {
    /// The whole configuration.
    pub(super) fn root() -> &'static Self {
        &ROOT
    }

    fn read(schema: &Value) -> Self {
        let description = schema["description"].as_str().unwrap_or_default().to_owned();
        // An optional enum is `anyOf: [it, null]`; everything else that is optional says so in `type`.
        let inner = schema["anyOf"].as_array().and_then(|choices| choices.first());
        Self { description, kind: Kind::read(inner.unwrap_or(schema)) }
    }

    /// The setting at a path, or how many of the path's names are known.
    pub(super) fn at(&self, path: &Path) -> Result<&Self, usize> {
        let mut shape = self;
        for (depth, name) in path.names().iter().enumerate() {
            shape = match &shape.kind {
                Kind::Section(settings, _) => settings.get(name).ok_or(depth)?,
                Kind::List(item) if name.parse::<usize>().is_ok() => item,
                _ => return Err(depth),
            };
        }
        Ok(shape)
    }

    /// Every setting below, with its path; an item of a list stands as `0`. A section is listed where it has a meaning
    /// by being there: inside the items of a list.
    pub(super) fn settings(&self, path: &Path) -> Vec<(Path, &Self)> {
        match &self.kind {
            Kind::Section(settings, _) => {
                let itself = path.names().iter().position(|name| name == "0").is_some_and(|index| index + 1 < path.names().len());
                let inner = settings.iter().flat_map(|(name, shape)| shape.settings(&path.join(name)));
                itself.then(|| (path.clone(), self)).into_iter().chain(inner).collect()
            }
            Kind::List(item) if matches!(item.kind, Kind::Section(..)) => item.settings(&path.join("0")),
            _ => vec![(path.clone(), self)],
        }
    }
}

impl Kind {
    fn read(schema: &Value) -> Self {
        if let Some(choices) = schema["oneOf"].as_array() {
            return Self::Word(choices.iter().flat_map(words).collect());
        }
        if schema["enum"].is_array() {
            return Self::Word(words(schema));
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            name => name.as_str().into_iter().collect(),
        };
        match types.first() {
            Some(&"object") => Self::Section(
                schema["properties"].as_object().into_iter().flatten().map(|(name, schema)| (name.clone(), Shape::read(schema))).collect(),
                strings(&schema["required"]),
            ),
            Some(&"array") => Self::List(Box::new(Shape::read(&schema["items"]))),
            Some(&"integer") => {
                Self::Count(schema["minimum"].as_i64().unwrap_or(i32::MIN.into()), schema["maximum"].as_i64().unwrap_or(i32::MAX.into()))
            }
            Some(&"boolean") => Self::Switch,
            _ => match schema["pattern"].as_str() {
                Some(Duration::PATTERN) => Self::Duration,
                Some(Size::PATTERN) => Self::Size,
                _ => Self::Text,
            },
        }
    }

    /// What was expected, for an error that ends in `expected …`.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Section(..) => "settings by name (`{}` takes every default)".into(),
            Self::List(_) => "a list such as `[a, b]`".into(),
            Self::Text => "text".into(),
            Self::Duration => "a duration such as 250ms, 5s or 1m30s".into(),
            Self::Size => "a size such as 512B, 64KiB or 16MiB".into(),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Switch => "true or false".into(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Its name in the reference page.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Section(..) => "settings".into(),
            Self::List(item) => format!("list of {}", item.kind.name()),
            Self::Text => "text".into(),
            Self::Duration => "duration".into(),
            Self::Size => "size".into(),
            Self::Count(least, most) => format!("{least} to {most}"),
            Self::Switch => "`true` or `false`".into(),
            Self::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        }
    }
}

fn words(schema: &Value) -> Vec<String> {
    match schema["const"].as_str() {
        Some(word) => vec![word.to_owned()],
        None => strings(&schema["enum"]),
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}
