//! The RE2 dialect: what matches, what is refused and how, and which short cuts are known.

use proptest::prelude::*;

use model::re2::{NEST_MAX, PATTERN_BYTES_MAX, Pattern, RegexError, compile_anchored, compile_captures};

#[track_caller]
fn check(pattern: &str, yes: &[&str], no: &[&str]) {
    let compiled = compile_anchored(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let captures = compile_captures(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    for (texts, want) in [(yes, true), (no, false)] {
        for text in texts {
            assert_eq!(compiled.is_match(text), want, "{pattern} on {text:?}");
            assert_eq!(captures.is_match(text), want, "{pattern} on {text:?}, compiled for captures");
        }
    }
}

#[track_caller]
fn refuse(pattern: &str, want: &str) {
    match compile_anchored(pattern) {
        Ok(_) => panic!("{pattern} compiles"),
        Err(error) => assert_eq!(error.to_string(), format!("error parsing regexp: {want}"), "for {pattern}"),
    }
    assert!(compile_captures(pattern).is_err(), "{pattern}");
}

#[test]
fn the_whole_text_has_to_match() {
    check("a|b", &["a", "b"], &["ab", "xa", "bx", "a\n", ""]);
    check("a.*|b", &["a", "a\nb", "b"], &["xb", "ba"]);
    check("", &[""], &["a"]);
    check("(?m)^a$", &["a"], &["a\nb", "b\na"]);
    check("(?-s).*", &["ab", ""], &["a\nb"]);
    check("(?-s:.)\n.", &["a\n\n"], &["\n\na"]);
    check("$", &[""], &["\n"]);
    check("^*a", &["a"], &["aa"]);
}

#[test]
fn nothing_reaches_the_anchors() {
    refuse("a)|(b", "unexpected ): `a)|(b`");
    refuse("a)|(?:b", "unexpected ): `a)|(?:b`");
    refuse(")(", "unexpected ): `)(`");
    refuse("(a", "missing closing ): `(a`");
    refuse("(?i", "missing closing ): `(?i`");
    refuse("a[", "missing closing ]: `[`");
    refuse("[^", "missing closing ]: `[^`");
    refuse("a\\", "trailing backslash at end of expression: ``");
    check(r"\Qa)|(b", &["a)|(b"], &["a", "b"]);
}

#[test]
fn classes_of_ascii() {
    check(r"\d+", &["019"], &["٣", ""]);
    check(r"\D", &["a", "٣", "\n"], &["1"]);
    check(r"\w+", &["aZ_9"], &["é", "-"]);
    check(r"\W", &["é", "-"], &["_"]);
    check(r"\s", &[" ", "\t", "\n", "\r", "\u{c}"], &["\u{b}", "\u{a0}"]);
    check(r"\S", &["\u{b}", "\u{a0}"], &[" "]);
    check(r"[\d-]+", &["1-2"], &["٣"]);
    check(r"[^\W]", &["a"], &["é", "-"]);
    check(r"é\b.*", &[], &["é", "é!", "é "]);
    check(r"é\ba", &["éa"], &[]);
    check(r"a\B.", &["ab"], &["a-", "aé"]);
    check(r"a\b{x}", &["a{x}"], &["a"]);
}

#[test]
fn brackets() {
    check("[a&&b]+", &["a&b"], &["c"]);
    check("[+--]+", &["+,-"], &["."]);
    check("[a~~b]", &["~"], &["~~"]);
    check("[[a]", &["[", "a"], &["]"]);
    check("[[a]]", &["[]", "a]"], &["a"]);
    check("[]a]", &["]", "a"], &["b"]);
    check("[^]a]", &["b"], &["]", "a"]);
    check("[a-]", &["a", "-"], &["b"]);
    check("[-a]", &["a", "-"], &["b"]);
    check("[a-c-e]", &["b", "-", "e"], &["d"]);
    check("[[:alpha:]_]", &["x", "_"], &["1", ":"]);
    check("[[:^alpha:]]", &["1", "é"], &["a"]);
    check("[[:word:]]", &["_"], &["-"]);
    check("[[:al]", &["[", ":", "a", "l"], &["b"]);
    check(r"[\]\-\\.^$]", &["]", "-", "\\", ".", "^", "$"], &["a"]);
    check(r"[\x41-\x{43}\104\n]", &["A", "C", "D", "\n"], &["E"]);
    check("[é-ü]", &["ë"], &["e"]);
    check("[#& ~{}()]", &["#", "&", " ", "~", "{", ")"], &["a"]);
}

#[test]
fn escapes() {
    check(r"\.\*\+\?\(\)\[\]\{\}\|\^\$\\", &[r".*+?()[]{}|^$\"], &[]);
    check(r"\<a\>", &["<a>"], &["a"]);
    check(r"\_\-\ \&\#\~\/\%\:\,\;\=\!\@\'\`", &["_- &#~/%:,;=!@'`"], &[]);
    check(r"\a\f\t\n\r\v", &["\u{7}\u{c}\t\n\r\u{b}"], &[]);
    check(r"\x41\x{1F600}\101\0\07", &["A😀A\0\u{7}"], &[]);
    check(r"\Aa\z", &["a"], &["a\n"]);
    check(r"\Qa.b*\E+", &["a.b*", "a.b**"], &["axb"]);
    check(r"\Q\E", &[""], &["a"]);
    check(r"\pL\p{Greek}\p{^Greek}\PL", &["aαa1"], &["aaaa"]);
    for escape in [r"\C", r"\Z", r"\G", r"\K", r"\E", r"\e", r"\h", r"\R", r"\X", r"\u", r"\y", r"\8", r"\1"] {
        refuse(&format!("a{escape}"), &format!("invalid escape sequence: `{escape}`"));
    }
    refuse(r"\x4", "invalid escape sequence: `\\x`");
    refuse(r"\é", "invalid escape sequence: `\\é`");
    refuse(r"\x{110000}", "invalid escape sequence: `\\x{110000}`");
    refuse(r"\u0041", "invalid escape sequence: `\\u`");
    refuse(r"(a)\1", "invalid escape sequence: `\\1`");
    refuse(r"[\b]", "invalid escape sequence: `\\b`");
    refuse(r"[\Qa\E]", "invalid escape sequence: `\\Q`");
}

#[test]
fn repetitions() {
    check("a{2}", &["aa"], &["a", "a{2}"]);
    check("a{2,}", &["aa", "aaa"], &["a"]);
    check("a{1,2}?", &["a", "aa"], &["aaa"]);
    check("a{0}", &[""], &["a"]);
    check("a{", &["a{"], &["a"]);
    check("a{}", &["a{}"], &["a"]);
    check("a{,2}", &["a{,2}"], &["aa"]);
    check("a{1, 2}", &["a{1, 2}"], &["aa"]);
    check("a{01}", &["a{01}"], &["a"]);
    check("{a}", &["{a}"], &["a"]);
    check("a*?b+?c??", &["b", "aabbc"], &["a"]);
    check("(a*)*", &["", "aa"], &["b"]);
    refuse("*a", "missing argument to repetition operator: `*`");
    refuse("a|+", "missing argument to repetition operator: `+`");
    refuse("(?:?)", "missing argument to repetition operator: `?`");
    refuse("{2}", "missing argument to repetition operator: `{2}`");
    refuse("a**", "invalid nested repetition operator: `*`");
    refuse("a+*", "invalid nested repetition operator: `*`");
    refuse("a???", "invalid nested repetition operator: `?`");
    refuse("a{2}{3}", "invalid nested repetition operator: `{3}`");
    check("a{1000}", &[&"a".repeat(1000)], &["a"]);
    refuse("a{1001}", "invalid repeat count: `{1001}`");
    refuse("a{1,99999999999}", "invalid repeat count: `{1,99999999999}`");
    refuse("(a{100}){11}", "invalid repeat count: `(a{100}){11}`");
    assert!(compile_anchored("a{3,2}").is_err());
}

#[test]
fn groups_and_flags() {
    check("(?P<n>a)(?<m>b)(?:c)", &["abc"], &["ab"]);
    check("(?i)é|k", &["É", "K", "\u{212a}"], &["e"]);
    check("(?i:a)b", &["Ab"], &["AB"]);
    check("(?ii-i)a", &["a"], &["A"]);
    check("(?)a()", &["a"], &[]);
    check("(?U)a+", &["aa"], &[]);
    check("(?i)\\w", &["\u{17f}", "K"], &["é"]);
    for (pattern, fragment) in [
        ("(?=a)", "(?="),
        ("(?!a)", "(?!"),
        ("(?<=a)", "(?<"),
        ("(?<!a)", "(?<"),
        ("(?>a)", "(?>"),
        ("(?x)a", "(?x"),
        ("(?R)a", "(?R"),
        ("(?u)a", "(?u"),
        ("(?-)a", "(?-)"),
        ("(?#a)", "(?#"),
        ("(?P=n)", "(?P"),
        ("(?i-u:a)", "(?i-u"),
    ] {
        refuse(pattern, &format!("invalid or unsupported Perl syntax: `{fragment}`"));
    }
    refuse("(?P<>a)", "invalid named capture: `(?P<>`");
    refuse("(?P<a.b>a)", "invalid named capture: `(?P<a.b>`");
    refuse("(?P<a", "invalid named capture: `(?P<a`");
    refuse("[z-a]", "invalid character class range: `z-a`");
    refuse("[[:foo:]]", "invalid character class range: `[:foo:]`");
    refuse(r"\p{Gr=ek}", r"invalid character class range: `\p{Gr=ek}`");
    assert!(compile_anchored(r"\p{Nonsense}").is_err());
    assert!(compile_anchored("(?P<n>a)(?P<n>b)").is_err());
}

#[test]
fn captures() {
    let regex = compile_captures(r"(?P<host>\w+):(\d+)").expect("valid");
    let found = regex.captures("db:5432").expect("matches");
    assert_eq!((&found["host"], &found[2]), ("db", "5432"));
    assert!(regex.captures("x db:5432").is_none());
}

#[test]
fn costs_are_bounded() {
    let deep = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    assert!(compile_anchored(&deep(NEST_MAX as usize - 1)).is_ok());
    assert!(compile_captures(&deep(NEST_MAX as usize - 1)).is_ok());
    assert!(compile_anchored(&deep(100_000)).is_err());
    assert!(compile_anchored(&"(".repeat(200_000)).is_err());
    assert!(compile_anchored(&"[".repeat(200_000)).is_err());
    let long = "a".repeat(PATTERN_BYTES_MAX + 1);
    assert_eq!(
        compile_anchored(&long).map(drop),
        Err(RegexError::TooLong { bytes: PATTERN_BYTES_MAX + 1, limit_bytes: PATTERN_BYTES_MAX })
    );
    assert!(matches!(compile_anchored(r"\pL{1000}"), Err(RegexError::TooLarge { .. })));
}

fn one_of(pattern: &str) -> Option<Vec<String>> {
    match compile_anchored(pattern).expect("valid") {
        Pattern::OneOf(texts) => Some(texts),
        Pattern::General { .. } => None,
    }
}

fn prefix(pattern: &str) -> String {
    match compile_anchored(pattern).expect("valid") {
        Pattern::OneOf(texts) => panic!("{pattern} is one of {texts:?}"),
        Pattern::General { prefix, .. } => prefix,
    }
}

#[test]
fn short_cuts() {
    assert_eq!(one_of("b|a|b"), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(one_of("x(1|2)[ab]").map(|texts| texts.join(" ")), Some("x1a x1b x2a x2b".to_owned()));
    assert_eq!(one_of("a?"), None);
    assert_eq!(one_of("(?i)ab").map(|texts| texts.join(" ")), Some("AB Ab aB ab".to_owned()));
    assert_eq!(one_of("^a"), None);
    assert_eq!(one_of(r"a\b"), None);
    assert_eq!(prefix("go_.*"), "go_");
    assert_eq!(prefix("(go)_(mem|gc).*"), "go");
    assert_eq!(prefix("(?i)go_.*"), "");
    assert_eq!(prefix("a|b.*"), "");
    assert_eq!(prefix("^ab.*"), "ab");
    assert_eq!(prefix("ab*"), "a");
    // A chosen list of thousands is looked up, not run: it would not fit a program.
    let many = (0..4000).map(|number| format!("host-{number}.example.com:9100")).collect::<Vec<_>>();
    let texts = one_of(&many.join("|").replace('.', r"\.")).expect("a finite set");
    assert_eq!(texts.len(), 4000);
    // Beyond the bounds of the expansion a prefix remains.
    assert_eq!(prefix("a[a-z][a-z][a-z]"), "a");
}

proptest! {
    /// Whatever is accepted means the same with and without its short cuts, and nothing panics.
    #[test]
    fn short_cuts_change_nothing(
        pieces in proptest::collection::vec(
            prop::sample::select(vec![
                "a", "b", "c", "|", "(", ")", "(?:", "(?i)", "(?i:", "[ab]", "[^a]", "[", "]", "*", "+", "?", "{2}", "{1,2}",
                ".", "^", "$", "\\d", "\\b", "\\B", "\\Q", "\\E", "\\", "&&", "-", "é", "{",
            ]),
            0..12,
        ),
        texts in proptest::collection::vec("[abcABé{&-]{0,4}", 8),
    ) {
        let pattern = pieces.concat();
        let (anchored, captures) = (compile_anchored(&pattern), compile_captures(&pattern));
        prop_assert_eq!(anchored.is_ok(), captures.is_ok(), "{}", pattern);
        if let (Ok(anchored), Ok(captures)) = (anchored, captures) {
            for text in texts {
                let found = captures.find(&text);
                prop_assert_eq!(anchored.is_match(&text), found.is_some(), "{} on {:?}", pattern, text);
                prop_assert!(found.is_none_or(|found| found.as_str() == text), "{} on a part of {:?}", pattern, text);
            }
        }
    }

    #[test]
    fn any_text_is_compiled_or_refused(pattern in any::<String>()) {
        prop_assert_eq!(compile_anchored(&pattern).is_ok(), compile_captures(&pattern).is_ok());
    }
}
