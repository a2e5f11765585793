//! Texts within the limits of those who take them.

/// The first `chars_max` characters of `text`; where some are missing, the last of them is an ellipsis.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    if chars_max > 0 {
        kept.push('…');
    }
    kept
}

/// The first `bytes_max` bytes of `text` in UTF-8, at a character; where some are missing, the last character is an ellipsis.
pub fn cut_bytes(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// The first `chars_max` characters of a text with tags: neither a tag nor an entity is cut in two, and what is open is closed.
pub(super) fn cut_html(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut open: Vec<&str> = Vec::new();
    let (mut used, mut rest) = (0, text);
    // An ellipsis, and the ends of all that is open, must fit behind each piece.
    while let Some(piece) = next_piece(rest) {
        let name = tag_name(piece);
        let after: usize = 1 + open.iter().map(|name| name.len() + 3).sum::<usize>();
        let opens = name.is_some() && !piece.starts_with("</");
        let more = if opens { name.map_or(0, |name| name.len() + 3) } else { 0 };
        let length = piece.chars().count();
        if used + length + after + more > chars_max {
            break;
        }
        match name {
            Some(_) if piece.starts_with("</") => drop(open.pop()),
            Some(name) if !piece.ends_with("/>") => open.push(name),
            _ => {}
        }
        kept.push_str(piece);
        used += length;
        rest = rest.get(piece.len()..).unwrap_or_default();
    }
    kept.push('…');
    for name in open.iter().rev() {
        kept.push_str(&["</", name, ">"].concat());
    }
    kept
}

/// A tag, an entity or a character.
fn next_piece(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    let end = match first {
        '<' => text.find('>'),
        '&' => text.bytes().take(12).position(|byte| byte == b';'),
        _ => None,
    };
    text.get(..end.map_or(first.len_utf8(), |end| end + 1))
}

/// The name in `<name …>` and `</name>`.
fn tag_name(piece: &str) -> Option<&str> {
    let inner = piece.strip_prefix('<')?.strip_suffix('>')?;
    let inner = inner.strip_prefix('/').unwrap_or(inner);
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(inner.len());
    inner.get(..end).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_limits() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(cut_bytes("äöü", 5), "ä…");
        assert_eq!(cut_bytes("äöü", 6), "äöü");
    }

    #[test]
    fn tags_stay_whole() {
        assert_eq!(cut_html("<b>abc</b>", 10), "<b>abc</b>");
        assert_eq!(cut_html("<b>abcdef</b>", 10), "<b>ab…</b>");
        assert_eq!(cut_html("a&amp;b<i>c</i>", 8), "a&amp;b…");
        assert_eq!(cut_html("a&amp;b", 6), "a…");
        let text = "<b>x</b> <code>a=b</code> &lt;".repeat(50);
        for max in 1..200 {
            let short = cut_html(&text, max);
            assert!(short.chars().count() <= max, "{max}: {short}");
            assert_eq!(short.matches("<b>").count(), short.matches("</b>").count(), "{short}");
            assert_eq!(short.matches("<code>").count(), short.matches("</code>").count(), "{short}");
        }
    }
}
