//! Any text as matchers: what is read, written again, reads as the same.

use rules::matchers::parse_matchers;

/// The bytes are the text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_matchers(text) {
        Err(fault) => assert!((1..=text.chars().count() + 1).contains(&fault.column), "{fault:?}"),
        Ok(matchers) => {
            let shown: Vec<String> = matchers.iter().map(ToString::to_string).collect();
            let again = parse_matchers(&format!("{{{}}}", shown.join(","))).expect("what is shown is read");
            assert_eq!(again, matchers);
        }
    }
}
