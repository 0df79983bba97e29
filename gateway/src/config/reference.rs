//! The reference of every setting, read from the type itself.

use std::fmt::Write;

use dbx_crds::config::GatewayConfig;

use super::{
    path::Path,
    shape::{Kind, Shape},
};

const INTRODUCTION: &str = include_str!("introduction.md");

/// One setting and everything a reader needs to know of it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its path; an item of a list stands as `0`.
    pub path: Path,
    /// What it wants.
    pub kind: String,
    /// Its default, in Markdown; empty if it has none.
    pub default: String,
    /// The environment variable that sets it.
    pub environment: String,
    /// What it is for, in Markdown.
    pub description: String,
}

/// Every setting, by path.
pub fn settings() -> Vec<Setting> {
    let effective = serde_json::to_value(GatewayConfig::default().effective()).unwrap_or_default();
    Shape::root()
        .settings(&Path::default())
        .into_iter()
        .map(|(path, shape)| {
            let text = shape.description.replace('\n', " ");
            let (description, said) = text.split_once("Default: ").unwrap_or((&text, ""));
            let pointer = path.names().iter().fold(String::new(), |pointer, name| pointer + "/" + name);
            let default = match (said.trim_end_matches('.'), effective.pointer(&pointer)) {
                ("" | "``", Some(value)) => format!("`{value}`"),
                ("", None) if matches!(shape.kind, Kind::List(_)) => "`[]`".into(),
                (said, _) => said.to_owned(),
            };
            Setting { kind: shape.kind.name(), default, environment: path.environment(), description: description.trim().to_owned(), path }
        })
        .collect()
}

/// The page `docs/src/configuration.md`.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = String::new();
    for setting in settings() {
        let outermost = setting.path.names()[0].clone();
        if outermost != section {
            let about = Shape::root().at(&setting.path.prefix(1)).map_or("", |shape| shape.description.as_str());
            // Writing to a `String` cannot fail.
            let _ = write!(page, "\n### `{outermost}`\n");
            if setting.path.names().len() > 1 {
                let _ = write!(page, "\n{}\n", about.replace('\n', " "));
            }
            page.push_str("\n| setting | wants | default | what it is for |\n|---|---|---|---|\n");
            section = outermost;
        }
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            page,
            "| `{}`<br>`{}` | {} | {} | {} |",
            setting.path.dotted(),
            setting.environment,
            cell(&setting.kind),
            cell(&setting.default),
            cell(&setting.description)
        );
    }
    page
}
