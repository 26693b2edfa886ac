//! The variables of a stage: ENV and ARG, and which of them an instruction sees (D-064, D-092).

use std::collections::BTreeMap;

use crate::budget::ENTRY;

/// The variables visible at a point of a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    variables: BTreeMap<String, Variable>,
    declared: BTreeMap<String, Declared>,
    /// Places given so far.
    places: usize,
    /// Bytes of all names and values, roughly.
    size: usize,
    /// Whether there may be variables that are not known, because the base image is not.
    open: bool,
    /// Whether any variable may have been set in a way that is not known.
    blind: bool,
}

#[derive(Debug, Clone)]
struct Variable {
    value: String,
    origin: Origin,
    /// Place among the variables; smaller ones come first.
    place: usize,
}

/// An argument that an ARG named.
#[derive(Debug, Clone)]
struct Declared {
    /// The latest value.
    value: Option<String>,
    /// Place of its first ARG among all.
    place: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Env,
    Arg,
}

/// Arguments that steer the builder where they are declared, and never become variables (D-101).
pub(crate) const NOT_EXPORTED: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Scope {
    /// Returns the scope at the start of a stage: the environment of its base image.
    pub(crate) fn of_image(env: &[String]) -> Scope {
        let mut scope = Scope::default();
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.set_env(name, value);
        }
        scope
    }

    /// Returns the scope at the start of a stage on an image that is not known.
    pub(crate) fn of_unknown() -> Scope {
        Scope { open: true, blind: true, ..Scope::default() }
    }

    /// Says that any variable may have been set in a way that is not known.
    pub(crate) fn blind(&mut self) {
        (self.open, self.blind) = (true, true);
    }

    /// Whether any variable may have been set in a way that is not known.
    pub(crate) fn is_blind(&self) -> bool {
        self.blind
    }

    /// Says that there may be variables that are not known.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// Whether there may be variables that are not known.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the arguments that were declared, in order, with their latest values.
    pub(crate) fn arguments(&self) -> Vec<(String, Option<String>)> {
        let mut declared: Vec<(&String, &Declared)> = self.declared.iter().collect();
        declared.sort_by_key(|(_, declared)| declared.place);
        declared.into_iter().map(|(name, declared)| (name.clone(), declared.value.clone())).collect()
    }

    /// Returns the value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|variable| variable.value.as_str())
    }

    /// Returns the names of all variables that have a value.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// Returns whether an ARG named it, with or without a value.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.declared.contains_key(name)
    }

    /// Returns about how many bytes a copy of the scope, or an environment made of it, takes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Sets a variable as ENV does: in place, or at the end.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.set(name, value, Origin::Env);
    }

    /// Declares an argument as ARG does. Without a value, a variable of that name keeps its own (D-087).
    pub(crate) fn declare(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.as_deref().filter(|_| !NOT_EXPORTED.contains(&name)) {
            self.set(name, value, Origin::Arg);
        }
        let place = self.next_place();
        self.size += name.len() + ENTRY;
        let declared = self.declared.entry(name.to_owned());
        declared.or_insert(Declared { value: None, place }).value = value;
    }

    /// Returns the environment of a RUN: ENV in order, then ARG in order (D-136).
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let mut variables: Vec<(&String, &Variable)> = self.variables.iter().collect();
        variables.sort_by_key(|(_, variable)| (variable.origin, variable.place));
        variables.into_iter().map(|(name, variable)| (name.clone(), variable.value.clone())).collect()
    }

    /// Returns the arguments as RUN writes them into the history: each name once at its first place,
    /// with the value that the step sees (D-297).
    pub(crate) fn history_arguments(&self) -> Vec<String> {
        let mut declared: Vec<(&String, &Declared)> = self.declared.iter().collect();
        declared.sort_by_key(|(_, declared)| declared.place);
        let entry = |(name, declared): (&String, &Declared)| {
            let value = self.get(name).or(declared.value.as_deref()).unwrap_or_default();
            format!("{name}={value}")
        };
        declared.into_iter().map(entry).collect()
    }

    fn next_place(&mut self) -> usize {
        self.places += 1;
        self.places
    }

    fn set(&mut self, name: &str, value: &str, origin: Origin) {
        let place = self.next_place();
        self.size += value.len();
        match self.variables.get_mut(name) {
            Some(variable) => {
                self.size -= variable.value.len();
                value.clone_into(&mut variable.value);
                // One that changes from ENV to ARG, or back, goes to the end of its new kind.
                if variable.origin != origin {
                    variable.origin = origin;
                    variable.place = place;
                }
            }
            None => {
                self.size += name.len() + ENTRY;
                let variable = Variable { value: value.to_owned(), origin, place };
                self.variables.insert(name.to_owned(), variable);
            }
        }
    }
}
