//! Sending notifications to servers that hang, refuse, answer wrongly, late or not at all.

mod alertmanager;
mod answers;
mod fake;
mod forward;
mod mail;
mod stage;
mod tls;
