//! The reference of every setting, read from the type itself.

use std::fmt::Write;

use dbx_crds::{
    config::GatewayConfig,
    reference::table,
    shape::{ITEM, Kind, Shape},
};

use super::path::Path;

const INTRODUCTION: &str = include_str!("introduction.md");

/// One setting and everything a reader needs to know of it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its path; an item of a list stands as `0`.
    pub path: Path,
    /// What it wants.
    pub kind: String,
    /// What it wants, and what bounds that, in Markdown.
    pub wants: String,
    /// Its default, in Markdown; empty if it has none.
    pub default: String,
    /// The environment variable that sets it.
    pub environment: String,
    /// What it is for, in Markdown.
    pub description: String,
}

/// Every setting with its shape, by path. A section is one where it has a meaning by being there: inside the items of a list.
pub(super) fn shapes() -> Vec<(Path, &'static Shape)> {
    let is_setting = |path: &[String], shape: &Shape| match &shape.kind {
        Kind::Section(..) => path[..path.len() - 1].iter().any(|name| name == ITEM),
        Kind::List(item) => !matches!(item.kind, Kind::Section(..)),
        _ => true,
    };
    let fields = Shape::config().below().into_iter();
    fields.filter(|(path, shape)| is_setting(path, shape)).map(|(path, shape)| (path.into(), shape)).collect()
}

/// Every setting, by path.
pub fn settings() -> Vec<Setting> {
    let effective = serde_json::to_value(GatewayConfig::default().effective()).unwrap_or_default();
    shapes()
        .into_iter()
        .map(|(path, shape)| {
            let (description, said) = shape.said();
            let pointer = path.names().iter().fold(String::new(), |pointer, name| pointer + "/" + name);
            let default = match (said.as_str(), effective.pointer(&pointer)) {
                ("" | "``", Some(value)) => format!("`{value}`"),
                ("", None) if matches!(shape.kind, Kind::List(_)) => "`[]`".into(),
                (said, _) => said.to_owned(),
            };
            Setting { kind: shape.kind.name(), wants: shape.wants(), default, environment: path.environment(), description, path }
        })
        .collect()
}

/// The page `docs/src/configuration.md`.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in settings().chunk_by(|one, next| one.path.prefix(1) == next.path.prefix(1)) {
        let outermost = section[0].path.prefix(1);
        // Writing to a `String` cannot fail.
        let _ = write!(page, "\n### `{outermost}`\n");
        if section[0].path != outermost {
            let about = Shape::config().at(outermost.names()).map_or("", |shape| shape.description.as_str());
            let _ = write!(page, "\n{}\n", about.replace('\n', " "));
        }
        let rows = section.iter().map(|setting| {
            let names = format!("`{}`<br>`{}`", setting.path.dotted(), setting.environment);
            [names, setting.wants.clone(), setting.default.clone(), setting.description.clone()]
        });
        page.push_str(&table(["setting", "wants", "default", "what it is for"], rows));
    }
    page
}
