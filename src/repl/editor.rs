//! The line editor of the REPL: history, completion menu, colour, continuation lines.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use query::functions;
use reedline::{
    Color, DefaultHinter, EditCommand, Emacs, FileBackedHistory, Highlighter, IdeMenu, KeyCode, KeyModifiers,
    MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, StyledText,
    ValidationResult, Validator, default_emacs_keybindings,
};

use super::completion::QueryCompleter;
use super::context::is_keyword;
use super::tokens::{Kind, is_complete, tokens};
use super::words::is_aggregation;
use crate::client::Client;

/// Most lines of history kept in the file.
const HISTORY_LINES_MAX: usize = 5_000;
/// Rows of the completion menu: what stood on the screen stays there.
const MENU_ROWS: u16 = 10;
/// Widest completion menu, with the help in it; lines come cut to the terminal.
const MENU_COLUMNS_MAX: u16 = 160;
/// The name of the completion menu inside the editor.
const MENU: &str = "completion";

/// Makes the editor for a terminal as wide as `columns` says. Without a usable history file, history is of this session only.
pub(crate) fn editor(
    completions: Client,
    history: Option<PathBuf>,
    color: bool,
    columns: Arc<AtomicUsize>,
) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let tab = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(tab));
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    let newline = ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
    keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, newline);
    let menu = IdeMenu::default()
        .with_name(MENU)
        .with_marker("> ")
        .with_max_completion_height(MENU_ROWS)
        .with_max_completion_width(MENU_COLUMNS_MAX)
        .with_correct_cursor_pos(true)
        .with_text_style(Color::Default.normal())
        .with_selected_text_style(Color::Default.reverse())
        .with_selected_match_text_style(Color::Default.reverse());
    let mut editor = Reedline::create()
        .with_completer(Box::new(QueryCompleter::new(completions, columns)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_partial_completions(true)
        .with_quick_completions(true)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(Brackets))
        .with_ansi_colors(color)
        .with_hinter(Box::new(DefaultHinter::default().with_style(Color::DarkGray.normal())));
    if color {
        editor = editor.with_highlighter(Box::new(QueryColors));
    }
    let file = history.and_then(|path| FileBackedHistory::with_file(HISTORY_LINES_MAX, path).ok());
    match file {
        Some(history) => editor.with_history(Box::new(history)),
        None => editor,
    }
}

/// Where history is kept: the folder for state of this user.
pub(crate) fn history_path() -> Option<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("metrickit").join("history"))
}

/// Enter continues while brackets are open; an empty line ends anything.
struct Brackets;

impl Validator for Brackets {
    fn validate(&self, line: &str) -> ValidationResult {
        if is_complete(line) || line.ends_with('\n') || line.trim_start().starts_with('.') {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

/// Colours a query while it is typed.
struct QueryColors;

impl Highlighter for QueryColors {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        let mut shown = 0;
        for token in tokens(line) {
            let color = match token.kind {
                Kind::Word if is_keyword(token.text) && !is_aggregation(token.text) => Color::Purple,
                Kind::Word if functions::find(token.text).is_some() || is_aggregation(token.text) => Color::Cyan,
                Kind::Number => Color::Yellow,
                Kind::Text { .. } => Color::Green,
                Kind::Comment => Color::DarkGray,
                _ => Color::Default,
            };
            styled.push((Color::Default.normal(), line[shown..token.start].to_owned()));
            styled.push((color.normal(), token.text.to_owned()));
            shown = token.end();
        }
        styled.push((Color::Default.normal(), line[shown..].to_owned()));
        styled
    }
}

/// The prompt, with the mode at the right.
pub(crate) struct QueryPrompt {
    /// What stands at the right.
    pub(crate) mode: String,
}

impl Prompt for QueryPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("metrickit")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.mode)
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("      ... ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(history: {}) ", search.term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_lose_no_character() {
        for line in ["", "sum by (é) (rate(x{a=\"b\"}[5m])) # end", "  a\n\t+ 'open", "{}"] {
            assert_eq!(QueryColors.highlight(line, 0).raw_string(), line);
        }
    }

    #[test]
    fn enter_continues_inside_brackets() {
        let is_done = |line| matches!(Brackets.validate(line), ValidationResult::Complete);
        assert!(is_done("up"));
        assert!(!is_done("sum("));
        assert!(is_done("sum(\n"), "an empty line ends it");
        assert!(is_done(".labels {"));
    }
}
