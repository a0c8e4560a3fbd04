use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Display,
    fs, io,
};

/// Looks names up and collects what is wrong.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) values: HashMap<String, String>,
    pub(super) faults: Vec<String>,
    /// Names whose values are not UTF-8.
    pub(super) unreadable: Vec<String>,
    /// Names that a value was asked for.
    pub(super) asked: BTreeSet<String>,
    /// Names whose values `.env` holds and the environment does not.
    pub(super) from_dot_env: HashSet<String>,
}

impl Reader {
    #[allow(clippy::disallowed_methods)] // the one place that asks the environment
    pub(super) fn from_environment() -> Result<Self, Vec<String>> {
        let mut values = HashMap::new();
        // Of this folder only: one that somebody else can write to must not be searched for.
        match dotenvy::from_path_iter(".env") {
            Ok(entries) => {
                for entry in entries {
                    let (name, value) =
                        entry.map_err(|_| vec![".env: cannot be parsed".to_owned()])?;
                    values.insert(name, value);
                }
            }
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Err(vec![".env: cannot be read".to_owned()]),
        }
        let mut reader = Self {
            from_dot_env: values.keys().cloned().collect(),
            values,
            ..Self::default()
        };
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            reader.from_dot_env.remove(&name);
            match value.into_string() {
                Ok(value) => drop(reader.values.insert(name, value)),
                // The system has many variables; only ours are ours to judge.
                Err(_) => reader.unreadable.push(name),
            }
        }
        Ok(reader)
    }

    /// Never with the value: it may be a secret.
    pub(super) fn fault(&mut self, name: &str, what: impl Display) {
        let fault = format!("{name}: {what}");
        // A name may be looked up more than once.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Whether there is a value, or something in its place: in a file that is not empty, or that cannot be read.
    pub(super) fn is_set(&self, name: &str) -> bool {
        let file_name = format!("{name}_FILE");
        self.set(name).is_some()
            || self.is_unreadable(name)
            || self.is_unreadable(&file_name)
            || self.set(&file_name).is_some_and(|file| !is_empty(&file))
    }

    fn is_unreadable(&self, name: &str) -> bool {
        self.unreadable.iter().any(|unreadable| unreadable == name)
    }

    /// What the environment or `.env` has under that very name; empty is unset.
    pub(super) fn set(&self, name: &str) -> Option<String> {
        let value = self.values.get(name);
        value.filter(|value| !value.is_empty()).cloned()
    }

    /// The value of a name or of the file that `NAME_FILE` names; empty is unset.
    pub(super) fn get(&mut self, name: &str) -> Option<String> {
        self.asked.insert(name.to_owned());
        let file_name = format!("{name}_FILE");
        for name in [name, &file_name] {
            if self.is_unreadable(name) {
                self.fault(name, "is not valid UTF-8");
            }
        }
        let value = self.set(name);
        let Some(file) = self.set(&file_name) else {
            return value;
        };
        if value.is_some() {
            self.fault(
                name,
                format_args!("is set, and so is {file_name}: one of the two"),
            );
        }
        content(&file).unwrap_or_else(|error| {
            let told = format_args!("the file cannot be read ({})", error.kind());
            self.fault(&file_name, told);
            None
        })
    }

    /// Names that begin so, are set, and that no value was asked for, in their order.
    pub(super) fn unasked(&self, prefix: &str) -> BTreeSet<String> {
        let is_unasked = |name: &&String| {
            let asked = name.strip_suffix("_FILE").unwrap_or(name);
            name.starts_with(prefix)
                && self.is_set(name)
                && !self.asked.contains(*name)
                && !self.asked.contains(asked)
        };
        let names = self.values.keys();
        names.filter(is_unasked).cloned().collect()
    }

    pub(super) fn is_in_dot_env(&self, name: &str) -> bool {
        self.from_dot_env.contains(name)
    }

    /// Reads what has no effect now: it is looked up, and so can be shown, and none of it is a fault.
    pub(super) fn idly<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let told = self.faults.len();
        let value = read(self);
        self.faults.truncate(told);
        value
    }

    pub(super) fn optional<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.get(name)?;
        parse(&value).map_err(|error| self.fault(name, error)).ok()
    }

    pub(super) fn or<T, E: Display>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        self.optional(name, parse).unwrap_or(default)
    }
}

/// What a file says, without the end of its line; `None` when that is nothing.
fn content(file: &str) -> io::Result<Option<String>> {
    let text = fs::read_to_string(file)?;
    let text = text.trim_end_matches(['\r', '\n']);
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Of files only: what a pipe says can be read once.
fn is_empty(file: &str) -> bool {
    let is_file = fs::metadata(file).is_ok_and(|about| about.is_file());
    is_file && matches!(content(file), Ok(None))
}

pub(super) fn flag(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Ok(true),
        "0" | "off" | "false" | "no" => Ok(false),
        _ => Err("must be true or false"),
    }
}
