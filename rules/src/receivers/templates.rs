//! The templates of notifications: those of this program, under the names that Alertmanager has for its own, and the user's, which replace them.

use jiff::Timestamp;

use super::data::NotificationData;
use crate::config::receivers::TemplateText;
use crate::functions::NotificationFunctions;
use crate::template::{Escape, Fault, Library, Limits, Value};

/// Most template files.
pub const TEMPLATE_FILES_MAX: usize = 256;

/// Named templates.
#[derive(Debug, Clone)]
pub struct Templates {
    library: Library,
}

impl Templates {
    /// Our own, and then those of `files` (names and texts): of two with one name the later counts.
    ///
    /// # Errors
    ///
    /// What is wrong with each file that is no template, with line and column.
    pub fn new<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> Result<Self, Vec<Fault>> {
        let functions = NotificationFunctions { now: Timestamp::UNIX_EPOCH };
        let mut library = Library::default();
        let mut faults = Vec::new();
        let own = [("default.tmpl", include_str!("default.tmpl"))];
        for (number, (name, text)) in own.into_iter().chain(files).enumerate() {
            if number > TEMPLATE_FILES_MAX {
                let message = format!("more than {TEMPLATE_FILES_MAX} files of templates");
                faults.push(Fault { name: name.to_owned(), line: 1, column: 1, message });
                break;
            }
            if let Err(fault) = library.add(name, text, &[], &functions) {
                faults.push(fault);
            }
        }
        if faults.is_empty() { Ok(Self { library }) } else { Err(faults) }
    }

    /// What fills templates with `data`.
    pub fn filler<'t>(&'t self, data: &NotificationData) -> Filler<'t> {
        let now = Timestamp::from_millisecond(data.now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        Filler { library: &self.library, dot: data.value(), functions: NotificationFunctions { now } }
    }

    /// Fills the labels of the route, which are templates, with the rest of `data`.
    ///
    /// # Errors
    ///
    /// When one cannot be filled.
    pub fn fill_route_labels(&self, data: &mut NotificationData) -> Result<(), Fault> {
        let labels = std::mem::take(&mut data.route_labels);
        let filler = self.filler(data);
        let done: Result<_, Fault> = labels
            .into_iter()
            .map(|(name, text)| filler.plain(&format!("label {name}"), &text).map(|text| (name, text)))
            .collect();
        data.route_labels = done?;
        Ok(())
    }
}

/// Templates, and what they are filled with.
#[derive(Debug)]
pub struct Filler<'t> {
    library: &'t Library,
    dot: Value,
    functions: NotificationFunctions,
}

impl Filler<'_> {
    /// Fills `template`, which is the setting `key`.
    ///
    /// # Errors
    ///
    /// When data does not fit it, or a limit is met.
    pub fn text(&self, key: &str, template: &TemplateText) -> Result<String, Fault> {
        self.fill(key, template.as_str(), Escape::Nothing)
    }

    /// As [`Self::text`], with values as text of HTML.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn html(&self, key: &str, template: &TemplateText) -> Result<String, Fault> {
        self.fill(key, template.as_str(), Escape::Html)
    }

    /// Fills the text of a secret or of a setting that has no type of its own.
    ///
    /// # Errors
    ///
    /// As for [`Self::text`].
    pub fn plain(&self, key: &str, text: &str) -> Result<String, Fault> {
        self.fill(key, text, Escape::Nothing)
    }

    fn fill(&self, key: &str, text: &str, escape: Escape) -> Result<String, Fault> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        self.library.fill_text(key, text, &self.dot, &self.functions, Limits::default(), escape)
    }
}
