use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Display,
    fs, io,
    rc::Rc,
};

use super::Faults;

/// Looks names up and collects what is wrong.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) values: HashMap<String, String>,
    pub(super) faults: Vec<String>,
    /// Whether one of them may be gone when the service is started again.
    pub(super) may_pass: bool,
    /// Names whose values are not UTF-8.
    pub(super) unreadable: Vec<String>,
    /// Names that a value was asked for.
    pub(super) asked: BTreeSet<String>,
    /// Names whose values `.env` holds and the environment does not.
    pub(super) from_dot_env: HashSet<String>,
    /// What files said that values come from. A pipe says it once.
    pub(super) files: HashMap<String, Content>,
}

pub(super) type Content = Result<Option<String>, Rc<io::Error>>;

impl Reader {
    #[allow(clippy::disallowed_methods)] // the one place that asks the environment
    pub(super) fn from_environment() -> Result<Self, Faults> {
        let mut values = HashMap::new();
        // Of this folder only: one that somebody else can write to must not be searched for.
        match dotenvy::from_path_iter(".env") {
            Ok(entries) => {
                for entry in entries {
                    let (name, value) = entry.map_err(of_dot_env)?;
                    values.insert(name, value);
                }
            }
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(of_dot_env(error)),
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

    /// A fault about a file that cannot be read.
    pub(super) fn unread(&mut self, name: &str, error: &io::Error) {
        self.may_pass |= is_of_system(error);
        self.fault(
            name,
            format_args!("the file cannot be read ({})", error.kind()),
        );
    }

    /// A fault, unless there is a value, or another fault in its place.
    pub(super) fn require(&mut self, name: &str, why: impl Display) {
        if !self.is_set(name) {
            self.fault(name, why);
        }
    }

    /// Whether [`get`](Self::get) gives a value, or tells a fault in its place.
    pub(super) fn is_set(&mut self, name: &str) -> bool {
        let file_name = format!("{name}_FILE");
        self.set(name).is_some()
            || self.is_unreadable(name)
            || self.is_unreadable(&file_name)
            || self
                .set(&file_name)
                .is_some_and(|file| !matches!(self.content(&file), Ok(None)))
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
        self.content(&file).unwrap_or_else(|error| {
            self.unread(&file_name, &error);
            None
        })
    }

    /// What a file says, without the end of its line; `None` when that is nothing.
    fn content(&mut self, file: &str) -> Content {
        let read = || {
            let text = fs::read_to_string(file)?;
            let text = text.trim_end_matches(['\r', '\n']);
            Ok((!text.is_empty()).then(|| text.to_owned()))
        };
        let files = self.files.entry(file.to_owned());
        files.or_insert_with(|| read().map_err(Rc::new)).clone()
    }

    /// What is in the file whose path is the value.
    pub(super) fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        let path = self.get(name)?;
        fs::read(path)
            .map_err(|error| self.unread(name, &error))
            .ok()
    }

    /// Names that begin so, are set, and that no value was asked for, in their order.
    pub(super) fn unasked(&self, prefix: &str) -> BTreeSet<String> {
        let is_unasked = |name: &&String| {
            let asked = name.strip_suffix("_FILE").unwrap_or(name);
            name.starts_with(prefix)
                && self.set(name).is_some()
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
        let (told, may_pass) = (self.faults.len(), self.may_pass);
        let value = read(self);
        self.faults.truncate(told);
        self.may_pass = may_pass;
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

/// Whether it is about where a file lies, which may change without the settings, and not about what is in it.
pub(super) fn is_of_system(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
}

fn of_dot_env(error: dotenvy::Error) -> Faults {
    let may_pass = matches!(error, dotenvy::Error::Io(error) if is_of_system(&error));
    let what = if may_pass { "read" } else { "parsed" };
    Faults {
        lines: vec![format!(".env: cannot be {what}")],
        may_pass,
    }
}

pub(super) fn flag(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Ok(true),
        "0" | "off" | "false" | "no" => Ok(false),
        _ => Err("must be true or false"),
    }
}
