//! Text in columns of a terminal: how wide it is, cut to a width, made harmless, coloured.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns` columns, with an ellipsis where it was cut.
pub(crate) fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    text.chars().take_while(fits).chain((columns > 0).then_some('…')).collect()
}

/// The name of a Go function in at most `columns` columns: where it is too long without the folders of its package, whose end and what follows
/// tell more.
pub(crate) fn function(name: &str, columns: usize) -> String {
    if width(name) <= columns {
        return name.to_owned();
    }
    // Receivers and type arguments have paths of their own.
    let path = name.split(['(', '[']).next().unwrap_or_default();
    let from = path.rfind('/').map_or(0, |at| at + 1);
    shortened(&name[from..], columns)
}

/// `text` in lines of at most `columns` columns, each after `indent` spaces, broken between words.
pub(crate) fn wrapped(text: &str, indent: usize, columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| indent + width(line) + 1 + width(word) <= columns) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    let pad = " ".repeat(indent);
    lines.iter().map(|line| format!("{pad}{line}")).collect::<Vec<_>>().join("\n")
}

/// Control characters written as escapes, so that a label value cannot steer the terminal.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
}

/// `text` in the style `code`, parameters of an escape sequence such as `1;31`, if `color`.
pub(crate) fn paint(text: &str, code: &str, color: bool) -> String {
    if color && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_columns() {
        for (text, columns, want) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("漢字", 4, "漢字"),
            ("漢字x", 4, "漢…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(shortened(text, columns), want, "{text} in {columns}");
        }
    }

    #[test]
    fn functions_lose_the_folders_of_their_package() {
        for (name, columns, want) in [
            ("net/http.(*conn).serve", 30, "net/http.(*conn).serve"),
            ("net/http.(*conn).serve", 20, "http.(*conn).serve"),
            ("example.com/a/b.Map[go.shape.*example.com/c.T].Get", 24, "b.Map[go.shape.*example…"),
            ("main.f", 3, "ma…"),
            ("", 0, ""),
        ] {
            assert_eq!(function(name, columns), want, "{name} in {columns}");
        }
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two  three", 2, 9), "  one two\n  three");
        assert_eq!(wrapped("incomprehensible", 2, 9), "  incomprehensible");
        assert_eq!(wrapped("", 2, 9), "");
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(visible("a\u{1b}[31m\n\"é\""), "a\\u{1b}[31m\\n\"é\"");
        assert_eq!(paint("x", "31", true), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(paint("x", "31", false), "x");
    }
}
