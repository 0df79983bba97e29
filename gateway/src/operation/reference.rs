//! The reference for people: a page of Markdown for each group, a reading of the table.

use super::param::{Effect, Kind, Param, Role};
use super::shape::{Field, Shape};
use super::{Group, Mode, Operation, all};

/// The page of a group, or the names of all groups, one a line.
pub fn text(group: Option<&str>) -> Result<String, String> {
    match group {
        Some(group) => page(group).ok_or_else(|| format!("there is no group `{group}`; there are {}", groups().join(", "))),
        None => Ok(groups().join("\n") + "\n"),
    }
}

/// The groups that have a page, in the order of the table.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = all().iter().map(|operation| operation.group.name()).collect();
    groups.dedup();
    groups
}

/// The page of a group; `None` if there is no such group.
fn page(group: &str) -> Option<String> {
    let operations: Vec<_> = all().iter().filter(|operation| operation.group.name() == group).collect();
    let title = operations.first()?.group.title();
    let entries: Vec<String> = operations.iter().map(|operation| entry(operation)).collect();
    Some(format!(
        "# {title}\n\nWritten by `make generate` from the table of operations. How calls are made is told in [By name](../api/by-name.md).\n\n{}",
        entries.join("\n")
    ))
}

fn entry(operation: &Operation) -> String {
    let mut lines = vec![format!("## {}\n", operation.name), format!("{}.\n", cell(operation.summary))];
    match operation.mode {
        Mode::Call => {}
        Mode::Blocking(reason) => lines.push(format!("{}: [by name, and on its own](../api/waiting.md).\n", cell(reason))),
        Mode::Streaming(reason) | Mode::Session(reason) => lines.push(format!("**Not by a call over HTTP**: {}.\n", cell(reason))),
    }
    lines.push(format!("- {}", command(operation)));
    for route in operation.routes {
        lines.push(format!("- As a resource: `{} {}`", route.method.name(), route.template));
    }
    if operation.idempotent {
        lines.push("- May be sent again when its answer was lost".into());
    }
    if let Some(cluster) = operation.in_cluster() {
        lines.push(format!("- In a [cluster](../clusters.md): {cluster}"));
    }
    let errors: Vec<_> = operation.errors.iter().map(|code| format!("[`{0}`](../api/errors.md)", code.name())).collect();
    if !errors.is_empty() {
        lines.push(format!("- Errors beside those of every call: {}", errors.join(", ")));
    }
    lines.push(format!("- Result: `{}`", shape(&operation.reply)));
    if !operation.params.is_empty() {
        lines.push("\n| argument | is | |\n|---|---|---|".into());
        rows(operation.params, "", &mut lines);
    }
    if operation.mode.has_reply() {
        let path = format!("localhost:3000/api/v1/redis/{}", operation.name);
        let arguments = operation.example.arguments.replace('\'', r"'\''");
        lines.push(format!("\n```bash\ncurl -X POST {path} -d '{arguments}'\n```\n\n```json\n{}\n```", operation.example.answer));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What it is to the server, and which servers have it.
fn command(operation: &Operation) -> String {
    let words = operation.command.words.join(" ");
    let page = words.to_lowercase().replace(' ', "-");
    let what = match (operation.group, operation.since.redis) {
        (Group::Recipes, _) => "A script of the gateway's own".to_owned(),
        (_, Some(_)) => format!("Redis command: [{words}](https://redis.io/docs/latest/commands/{page}/)"),
        (_, None) => format!("Valkey command: [{words}](https://valkey.io/commands/{page}/)"),
    };
    let since = |family: &str, version: Option<&str>| version.map(|version| format!("{family} {version}"));
    let since: Vec<_> = [since("Redis", operation.since.redis), since("Valkey", operation.since.valkey)].into_iter().flatten().collect();
    format!("{what}; since {}", since.join(", "))
}

/// A line for each argument; those of an object behind its name.
fn rows(params: &[Param], before: &str, lines: &mut Vec<String>) {
    for param in params {
        match param.kind {
            Kind::Fixed(_) => {}
            Kind::OneOf(choices) => {
                let names: Vec<_> = choices.iter().map(|choice| format!("`{}`", choice.name)).collect();
                let rule = match (param.required && param.instead.is_none(), &names[..]) {
                    (_, [_]) => "optional".to_owned(),
                    (true, _) => format!("exactly one of {}", names.join(", ")),
                    (false, _) => format!("at most one of {}", names.join(", ")),
                };
                for choice in choices {
                    row(choice, before, &rule, lines);
                }
            }
            _ => {
                let rule = match (param.default, param.required) {
                    (Some(default), _) => format!("default `{default}`"),
                    (None, true) => "required".to_owned(),
                    (None, false) => "optional".to_owned(),
                };
                row(param, before, &rule, lines);
            }
        }
    }
}

fn row(param: &Param, before: &str, rule: &str, lines: &mut Vec<String>) {
    let name = format!("{before}{}", param.name);
    let mut about = param.about.to_owned();
    if let Some(other) = param.requires {
        about += &format!("; with `{other}`");
    }
    if let Some(other) = param.instead {
        about += &format!("; not with `{other}`");
    }
    if param.effects.iter().any(|effect| matches!(effect, Effect::Once)) {
        about += "; a call with it may not be sent again";
    }
    lines.push(format!("| `{name}` | {}, {rule} | {} |", kind(&param.kind), cell(&about)));
    match param.kind {
        Kind::Object(inner) => rows(inner, &format!("{name}."), lines),
        Kind::Objects(inner, _) => rows(inner, &format!("{name}[]."), lines),
        _ => {}
    }
}

fn kind(of: &Kind) -> String {
    match of {
        Kind::Key(role) => format!("key ({})", uses(*role)),
        Kind::Bytes | Kind::Channel | Kind::Glob | Kind::Elsewhere => "string".into(),
        Kind::Base64 => "string in base64".into(),
        Kind::Json => "any JSON".into(),
        Kind::Text => "text".into(),
        Kind::Integer | Kind::OtherDatabase => "integer".into(),
        Kind::Cursor => "cursor".into(),
        Kind::Double => "number".into(),
        Kind::Flag | Kind::Modifier => "`true`".into(),
        Kind::Choice(words) => words.iter().map(|word| format!("`\"{}\"`", word.name)).collect::<Vec<_>>().join(" or "),
        Kind::List(of, _) => format!("list, each {}", kind(of)),
        Kind::Pairs(one, two, _) => format!("object or pairs, {} to {}", kind(one), kind(two)),
        Kind::Object(_) => "object".into(),
        Kind::Objects(..) => "list of objects".into(),
        Kind::OneOf(_) | Kind::Fixed(_) => String::new(),
    }
}

/// What becomes of a key.
fn uses(role: Role) -> String {
    let each = [(role.read, "read"), (role.write && !role.delete, "written"), (role.delete, "removed"), (role.metadata(), "looked at")];
    each.iter().filter(|(does, _)| *does).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

/// A result, as JSON with types in the place of values.
fn shape(of: &Shape) -> String {
    let fields = |fields: &[Field]| {
        let each = fields.iter().map(|field| {
            let (open, close) = if field.rest { ("[", ", …]") } else { ("", "") };
            let optional = if field.column.is_some() { "?" } else { "" };
            format!("\"{}\"{optional}: {open}{}{close}", field.name, shape(&field.shape))
        });
        format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
    };
    match of {
        Shape::Word | Shape::Bytes => "string".into(),
        Shape::Integer => "integer".into(),
        Shape::Double => "number".into(),
        Shape::Base64 => "string in base64".into(),
        Shape::List(of) | Shape::Page(of) => format!("[{}, …]", shape(of)),
        Shape::Map(of) | Shape::Entries(of) => format!("{{name: {}, …}}", shape(of)),
        Shape::Pairs(of) => format!("[[name, {}], …]", shape(of)),
        Shape::Fields => "{name: string, …}".into(),
        Shape::Record(inner) | Shape::Object(inner) => fields(inner),
        Shape::Rows(inner) => format!("[{}, …]", fields(inner)),
        Shape::Text(_) => "object".into(),
        Shape::Lines(_) => "[object, …]".into(),
        Shape::Nullable(of) => format!("{} or null", shape(of)),
        Shape::Json | Shape::Raw => "any JSON".into(),
    }
}

/// Text that stands in a cell of a table, and is not taken for HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_a_page_in_the_guide() {
        let contents = include_str!("../../../docs/src/SUMMARY.md");
        for group in groups() {
            assert!(contents.contains(&format!("](reference/{group}.md)")), "{group} is not in the guide's contents");
            let page = page(group).unwrap();
            for operation in all().iter().filter(|operation| operation.group.name() == group) {
                assert!(page.contains(&format!("\n## {}\n", operation.name)));
            }
        }
        assert_eq!(page("nonsense"), None);
    }

    #[test]
    fn arguments_and_results_are_told() {
        let set = entry(super::super::find("set").unwrap().operation());
        assert!(set.contains("| `key` | key (written), required | The key |"), "{set}");
        assert!(set.contains("at most one of `ex`, "), "{set}");
        assert!(set.contains("As a resource: `PUT /strings/{key}`"), "{set}");
        let bounds = entry(super::super::find("increment_with_bounds").unwrap().operation());
        assert!(bounds.contains("| `increment` | integer, default `1` |"), "{bounds}");
        assert!(bounds.contains("Result: `{\"value\": integer, \"applied\": integer}`"), "{bounds}");
    }
}
