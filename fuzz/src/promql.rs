//! Any text as a query: an error inside the text, or a tree that prints to the same tree.

/// The query.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match query::parse(text) {
        Ok(tree) => {
            let printed = tree.to_string();
            let again =
                query::parse(&printed).unwrap_or_else(|error| panic!("{text:?} prints as {printed:?}: {error}"));
            assert_eq!(again.to_string(), printed, "{text:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error says something"),
    }
}
