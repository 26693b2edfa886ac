//! The variables of a stage: ENV and ARG, and which of them an instruction sees (D-064, D-092).

/// The variables visible at a point of a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    variables: Vec<Variable>,
    declared: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone)]
struct Variable {
    name: String,
    value: String,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    /// Returns the value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
    }

    /// Returns the names of all variables that have a value.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.name.as_str())
    }

    /// Returns whether an ARG named it, with or without a value.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.declared.iter().any(|(declared, _)| declared == name)
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
        self.declared.push((name.to_owned(), value));
    }

    /// Returns the environment of a RUN: ENV in order, then ARG in order (D-136).
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let of = |origin: Origin| {
            self.variables
                .iter()
                .filter(move |variable| variable.origin == origin)
                .map(|variable| (variable.name.clone(), variable.value.clone()))
        };
        of(Origin::Env).chain(of(Origin::Arg)).collect()
    }

    /// Returns the arguments as RUN writes them into the history: each name once at its first place,
    /// with the value that the step sees (D-297).
    pub(crate) fn history_arguments(&self) -> Vec<String> {
        let mut entries: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.declared {
            let value = self.get(name).map(str::to_owned).or_else(|| value.clone()).unwrap_or_default();
            let entry = format!("{name}={value}");
            match entries.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = entry,
                None => entries.push((name, entry)),
            }
        }
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    fn set(&mut self, name: &str, value: &str, origin: Origin) {
        match self.variables.iter_mut().find(|variable| variable.name == name) {
            Some(variable) if variable.origin == origin => value.clone_into(&mut variable.value),
            Some(_) => {
                self.variables.retain(|variable| variable.name != name);
                self.push(name, value, origin);
            }
            None => self.push(name, value, origin),
        }
    }

    fn push(&mut self, name: &str, value: &str, origin: Origin) {
        self.variables.push(Variable { name: name.to_owned(), value: value.to_owned(), origin });
    }
}
