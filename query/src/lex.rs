//! The lexer: text to tokens.
