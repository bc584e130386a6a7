//! A target and an engine under one name, which fuzz targets, traces and reports use.

use std::fmt;

use crate::Outcome;
use crate::generate::Limits;
use crate::scenario::{Config, Scenario};
use crate::space::{PLAIN, Space};

use crate::runner::{Purpose, Runner};

/// Writes a scenario in a form for other programs.
pub type Script = fn(&Scenario) -> String;

/// What scenarios run in.
#[derive(Clone, Copy)]
pub struct Suite {
    name: &'static str,
    space: fn() -> &'static Space,
    start: fn(Purpose) -> Box<dyn Runner>,
    limits: fn() -> Limits,
    configs: Option<fn() -> Vec<Config>>,
    /// Extension and maker of a script that reproduces a scenario with other programs.
    script: Option<(&'static str, Script)>,
    /// What the suite is called in Rust, outside of its crate.
    expression: Option<&'static str>,
    /// What its process was told on the command line.
    arguments: Option<fn() -> &'static str>,
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Suite").field(&self.name).finish()
    }
}

impl Suite {
    /// The suite `name`; `start` makes an engine with its target. Unless [`Suite::of_space`] says another,
    /// its scenarios are of the space [`PLAIN`].
    pub const fn new(name: &'static str, start: fn(Purpose) -> Box<dyn Runner>) -> Self {
        let limits = Limits::default;
        Self {
            name,
            space: || &PLAIN,
            start,
            limits,
            configs: None,
            script: None,
            expression: None,
            arguments: None,
        }
    }

    /// The same; its scenarios are of the space of its target.
    #[must_use]
    pub const fn of_space(self, space: fn() -> &'static Space) -> Self {
        Self { space, ..self }
    }

    /// The same; its scenarios are generated and mutated within these limits, [`Limits::racing`] for requests
    /// in flight together.
    #[must_use]
    pub const fn within(self, limits: fn() -> Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same; these are the configurations of which everything is tried ([`crate::exhaust`]).
    #[must_use]
    pub const fn exhausting(self, configs: fn() -> Vec<Config>) -> Self {
        Self { configs: Some(configs), ..self }
    }

    /// The same; its findings are written as a script too, with this extension.
    #[must_use]
    pub const fn with_script(self, extension: &'static str, script: Script) -> Self {
        Self { script: Some((extension, script)), ..self }
    }

    /// The same; its findings are written as Rust tests too, in which `expression` is the suite.
    #[must_use]
    pub const fn with_expression(self, expression: &'static str) -> Self {
        Self { expression: Some(expression), ..self }
    }

    /// The same; its process needs arguments ([`crate::fuzzing::ARGUMENTS`]), which stand in traces.
    #[must_use]
    pub const fn with_arguments(self, arguments: fn() -> &'static str) -> Self {
        Self { arguments: Some(arguments), ..self }
    }

    /// What a trace says in comments of where it is run: a line for the suite, and one for arguments.
    pub(crate) fn headline(&self) -> String {
        let arguments = self.arguments.map_or_else(String::new, |words| format!("\narguments: {}", words()));
        format!("target: {}{arguments}", self.name)
    }

    /// What the suite is called in Rust, outside of its crate.
    pub fn expression(&self) -> Option<&'static str> {
        self.expression
    }

    /// Its name, such as `mine_crash`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What its scenarios choose from.
    pub fn space(&self) -> &'static Space {
        (self.space)()
    }

    /// What its scenarios are generated and mutated within.
    pub fn limits(&self) -> Limits {
        (self.limits)()
    }

    /// The configurations of which everything is tried, if the suite names any.
    pub fn configs(&self) -> Option<Vec<Config>> {
        self.configs.map(|configs| configs())
    }

    /// Extension and maker of the script that reproduces a scenario with other programs.
    pub fn script(&self) -> Option<(&'static str, Script)> {
        self.script
    }

    /// A fresh engine.
    pub fn start(&self, purpose: Purpose) -> Box<dyn Runner> {
        (self.start)(purpose)
    }

    /// Runs a scenario once, on a fresh engine.
    pub fn replay(&self, scenario: &Scenario) -> Outcome {
        self.start(Purpose::Replay).run(scenario)
    }

    /// Runs a scenario given as text.
    ///
    /// # Errors
    /// The report of what was found, or what is wrong with the text.
    pub fn replay_text(&self, text: &str) -> Result<(), String> {
        let scenario = Scenario::from_text(text).map_err(|error| error.to_string())?;
        match self.replay(&scenario) {
            Outcome::Clean => Ok(()),
            Outcome::Finding(finding) => Err(finding.report()),
            Outcome::Refused(why) => Err(format!("the scenario cannot be run: {why}")),
        }
    }
}
