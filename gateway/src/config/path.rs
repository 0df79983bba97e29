//! The path of a setting, and how each source writes it: `databases[0].redis.url` in errors, `databases.0.redis.url` in
//! flags, `DBX_DATABASES__0__REDIS__URL` in the environment.

use std::fmt;

/// Names from the outermost section inwards; an item of a list is its index.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads `limits.maxInFlight`, `databases.0.name` or `databases[0].name`.
    pub fn parse(text: &str) -> Self {
        let dotted = text.replace('[', ".").replace(']', "");
        Self(dotted.split('.').filter(|_| !text.is_empty()).map(str::to_owned).collect())
    }

    /// Reads an environment variable's name without its `DBX_`.
    pub(super) fn from_environment(name: &str) -> Self {
        Self(name.split("__").map(camel_case).collect())
    }

    /// The environment variable that sets it.
    pub fn environment(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|name| snake_case(name)).collect();
        format!("DBX_{}", names.join("__"))
    }

    /// As a flag writes it.
    pub fn dotted(&self) -> String {
        self.0.join(".")
    }

    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    pub(super) fn join(&self, name: impl Into<String>) -> Self {
        let mut names = self.0.clone();
        names.push(name.into());
        Self(names)
    }

    /// Its first `depth` names.
    pub(super) fn prefix(&self, depth: usize) -> Self {
        Self(self.0[..depth.min(self.0.len())].to_vec())
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// What to sort by, so that `databases.10` comes after `databases.2` and a section before what is in it.
    pub(super) fn order(&self) -> Vec<(usize, String)> {
        self.0.iter().map(|name| (name.parse().unwrap_or(usize::MAX), name.clone())).collect()
    }
}

impl From<Vec<String>> for Path {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            match name.parse::<usize>() {
                Ok(item) => write!(formatter, "[{item}]")?,
                Err(_) if index == 0 => formatter.write_str(name)?,
                Err(_) => write!(formatter, ".{name}")?,
            }
        }
        Ok(())
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_lowercase();
    words.fold(first, |mut camel, word| {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(&letters.as_str().to_lowercase());
        camel
    })
}

fn snake_case(name: &str) -> String {
    name.chars().flat_map(|letter| letter.is_uppercase().then_some('_').into_iter().chain(letter.to_uppercase())).collect()
}
