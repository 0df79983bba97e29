//! What fields a type has and what each one wants, read from its JSON schema. Checking, typing, suggesting and the
//! reference pages are readings of this tree, so a new field needs no edit here.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

use crate::config::{Duration, GatewayConfig, Size};

/// What stands in a path for any item of a list.
pub const ITEM: &str = "0";

/// One field, or a section of fields.
#[derive(Debug)]
pub struct Shape {
    /// What it is for, as the type's documentation says.
    pub description: String,
    /// What it wants.
    pub kind: Kind,
    /// The most letters, items or names that it may have.
    most: Option<u64>,
    /// What a text has to match, where the kind does not say it.
    pattern: Option<String>,
}

/// What a field wants.
#[derive(Debug)]
pub enum Kind {
    /// Settings by name, and the names of those that cannot be left out.
    Section(BTreeMap<String, Shape>, Vec<String>),
    /// Any number of the same.
    List(Box<Shape>),
    /// The same by any names.
    Map(Box<Shape>),
    /// An object whose fields somebody else knows.
    Verbatim,
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

static CONFIG: LazyLock<Shape> = LazyLock::new(|| Shape::read(GatewayConfig::schema().as_value()));

impl Shape {
    /// The whole configuration.
    pub fn config() -> &'static Self {
        &CONFIG
    }

    /// Reads a schema without references.
    #[must_use]
    pub fn read(schema: &Value) -> Self {
        let description = schema["description"].as_str().unwrap_or_default().to_owned();
        // An optional enum is `anyOf: [it, null]`; everything else that is optional says so in `type`.
        let inner = schema["anyOf"].as_array().and_then(|choices| choices.first()).unwrap_or(schema);
        let kind = Kind::read(inner);
        let most = ["maxLength", "maxItems", "maxProperties"].iter().find_map(|word| inner[*word].as_u64());
        let pattern = inner["pattern"].as_str().filter(|_| matches!(kind, Kind::Text)).map(str::to_owned);
        Self { description, kind, most, pattern }
    }

    /// The field at a path, or how many of the path's names are known.
    ///
    /// # Errors
    /// When there is no such field.
    pub fn at(&self, path: &[String]) -> Result<&Self, usize> {
        let mut shape = self;
        for (depth, name) in path.iter().enumerate() {
            shape = match &shape.kind {
                Kind::Section(settings, _) => settings.get(name).ok_or(depth)?,
                Kind::List(item) if name.parse::<usize>().is_ok() => item,
                _ => return Err(depth),
            };
        }
        Ok(shape)
    }

    /// Every field below, with its path, and each before those inside it; an item of a list stands as [`ITEM`].
    #[must_use]
    pub fn below(&self) -> Vec<(Vec<String>, &Self)> {
        let mut fields = Vec::new();
        self.collect(&[], &mut fields);
        fields
    }

    fn collect<'a>(&'a self, path: &[String], fields: &mut Vec<(Vec<String>, &'a Self)>) {
        match &self.kind {
            Kind::Section(inner, _) => {
                for (name, shape) in inner {
                    let path = [path, std::slice::from_ref(name)].concat();
                    fields.push((path.clone(), shape));
                    shape.collect(&path, fields);
                }
            }
            Kind::List(item) => item.collect(&[path, &[ITEM.to_owned()]].concat(), fields),
            _ => {}
        }
    }

    /// What it wants, for a reference page: its kind, and what bounds it.
    #[must_use]
    pub fn wants(&self) -> String {
        let most = match (&self.kind, self.most) {
            (Kind::Text, Some(most)) => format!(", at most {most} long"),
            (Kind::List(_) | Kind::Map(_), Some(most)) => format!(", at most {most}"),
            _ => String::new(),
        };
        let pattern = self.pattern.as_ref().map(|pattern| format!(", `{pattern}`")).unwrap_or_default();
        self.kind.name() + &most + &pattern
    }

    /// What it is for, and its default, which its documentation says in its last sentence; both in Markdown.
    #[must_use]
    pub fn said(&self) -> (String, String) {
        let text = self.description.replace('\n', " ");
        let (description, default) = text.split_once("Default: ").unwrap_or((&text, ""));
        (description.trim().to_owned(), default.trim_end_matches('.').to_owned())
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
            Some(&"object") if schema["additionalProperties"].is_object() => {
                Self::Map(Box::new(Shape::read(&schema["additionalProperties"])))
            }
            Some(&"object") if schema["x-kubernetes-preserve-unknown-fields"] == true && schema["properties"].is_null() => Self::Verbatim,
            Some(&"object") => Self::Section(
                schema["properties"].as_object().into_iter().flatten().map(|(name, schema)| (name.clone(), Shape::read(schema))).collect(),
                strings(&schema["required"]),
            ),
            Some(&"array") => Self::List(Box::new(Shape::read(&schema["items"]))),
            Some(&"integer") => {
                Self::Count(whole(&schema["minimum"]).unwrap_or(i32::MIN.into()), whole(&schema["maximum"]).unwrap_or(i32::MAX.into()))
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
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Section(..) => "settings by name (`{}` takes every default)".into(),
            Self::List(_) => "a list such as `[a, b]`".into(),
            Self::Map(_) | Self::Verbatim => "an object".into(),
            Self::Text => "text".into(),
            Self::Duration => "a duration such as 250ms, 5s or 1m30s".into(),
            Self::Size => "a size such as 512B, 64KiB or 16MiB".into(),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Switch => "true or false".into(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Its name in the reference page.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Section(..) => "settings".into(),
            Self::List(item) => format!("list of {}", item.kind.name()),
            Self::Map(item) => format!("{} by name", item.kind.name()),
            Self::Verbatim => "object".into(),
            Self::Text => "text".into(),
            Self::Duration => "duration".into(),
            Self::Size => "size".into(),
            Self::Count(least, most) if [*least, *most] == [i32::MIN, i32::MAX].map(i64::from) => "whole number".into(),
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

/// A bound, which a definition writes as `1.0`.
fn whole(bound: &Value) -> Option<i64> {
    bound.as_i64().or_else(|| format!("{:.0}", bound.as_f64()?).parse().ok())
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}
