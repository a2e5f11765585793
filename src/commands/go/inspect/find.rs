//! Which process is meant by a number or a name, and if none can be told of, why and what helps.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use agent::go::GoProcess;
use agent::go::discover::Scan;

use crate::render::append;
use crate::render::text::{shortened, visible};

/// Most candidates that are listed.
const CANDIDATES_MAX: usize = 20;
/// Columns for a name in a message.
const NAME_COLUMNS: usize = 60;

/// The process of `scan` that `text` means: its id, the name of its executable or its instance, or a part of the name that fits one
/// alone.
pub(super) fn find<'s>(scan: &'s Scan, text: &str) -> anyhow::Result<&'s GoProcess> {
    if let Ok(pid) = text.parse::<i32>() {
        let found = scan.processes.iter().find(|process| process.life.pid == pid);
        return found.ok_or_else(|| anyhow::anyhow!(why_not(pid)));
    }
    let exact = |process: &&GoProcess| process.life.name == text || process.instance == text;
    let part = |process: &&GoProcess| process.life.name.contains(text);
    let mut fitting: Vec<&GoProcess> = scan.processes.iter().filter(exact).collect();
    if fitting.is_empty() {
        fitting = scan.processes.iter().filter(part).collect();
    }
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(anyhow::anyhow!(none_called(scan, text))),
        several => {
            let listed = listed(several);
            Err(anyhow::anyhow!("{} Go processes fit {text:?}; name one by its id:\n{listed}", several.len()))
        }
    }
}

fn none_called(scan: &Scan, text: &str) -> String {
    let mut told = format!("no Go process of this host is called {:?}", shortened(&visible(text), NAME_COLUMNS));
    if scan.processes.is_empty() {
        told.push_str("; none was found at all");
    } else {
        told.push_str("; there are:\n");
        told.push_str(&listed(&scan.processes.iter().collect::<Vec<_>>()));
    }
    if scan.hidden > 0 {
        let (hidden, name) = (scan.hidden, quoted(text));
        append(
            &mut told,
            format_args!(
                "\n{hidden} processes are hidden from this user; to see all:  sudo metrickit go inspect {name}"
            ),
        );
    }
    told
}

fn listed(processes: &[&GoProcess]) -> String {
    let line = |process: &&GoProcess| {
        let (name, version) = (&process.life.name, &process.build.version);
        let made = if version.is_empty() || version == "(devel)" { &process.build.revision } else { version };
        let text = format!("  {:>8}  {}  {}", process.life.pid, visible(name), visible(made));
        shortened(text.trim_end(), NAME_COLUMNS + 12)
    };
    let mut lines: Vec<String> = processes.iter().take(CANDIDATES_MAX).map(line).collect();
    let left = processes.len().saturating_sub(CANDIDATES_MAX);
    if left > 0 {
        lines.push(format!("  … and {left} more"));
    }
    lines.join("\n")
}

/// Why the process `pid` is none that can be told of.
fn why_not(pid: i32) -> String {
    let folder = format!("/proc/{pid}");
    if !Path::new(&folder).exists() {
        return format!("there is no process {pid} (or it is hidden from this user)");
    }
    let name = fs::read_to_string(format!("{folder}/comm")).unwrap_or_default();
    let name = shortened(&visible(name.trim()), NAME_COLUMNS);
    match fs::read_link(format!("{folder}/exe")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => no_right(pid, &name),
        Err(_) => format!("process {pid} ({name}) has no executable: it is a kernel thread, or ended just now"),
        Ok(path) => format!(
            "process {pid} ({name}) is no Go process: its executable {} has no Go build information",
            shortened(&visible(&path.to_string_lossy()), NAME_COLUMNS)
        ),
    }
}

/// What right is missing to read the memory of `pid`, and what to type.
pub(super) fn no_right(pid: i32, name: &str) -> String {
    let owner = owner_of(pid);
    let own = rustix::process::geteuid().as_raw();
    let why = match &owner {
        Some((uid, user)) if *uid != own => format!("it runs as {user}; that takes the same user, or CAP_SYS_PTRACE"),
        _ if ptrace_scope() > 0 => "kernel.yama.ptrace_scope asks for CAP_SYS_PTRACE, even of the same user".to_owned(),
        _ => "it does not let its own user trace it; that takes CAP_SYS_PTRACE".to_owned(),
    };
    if own == 0 {
        // Who is root and yet may not is in a container, or another name space of users.
        return format!(
            "no right to read process {pid} ({name}): root has not CAP_SYS_PTRACE here\nin a container, start it with the capability and the host's processes:  --cap-add SYS_PTRACE --pid host"
        );
    }
    format!(
        "no right to read process {pid} ({name}): {why}\nrun it as root:  sudo metrickit go inspect {pid}\nor give the right to the program, once:  sudo setcap cap_sys_ptrace=ep \"$(command -v metrickit)\""
    )
}

/// The user of a process: number and name.
pub(super) fn owner_of(pid: i32) -> Option<(u32, String)> {
    let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':'));
    let name = fields.find_map(|mut line| {
        let name = line.next()?;
        (line.nth(1)?.parse() == Ok(uid)).then(|| visible(name))
    });
    Some((uid, name.unwrap_or_else(|| format!("user {uid}"))))
}

/// What Yama asks for; 0 where it is not there.
fn ptrace_scope() -> u32 {
    let text = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", visible(text).replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agent::go::identity::Life;

    use super::*;

    fn scan(all: &[(i32, &str)]) -> Scan {
        let process = |&(pid, name): &(i32, &str)| GoProcess {
            life: Life { start_ticks: 1, pid, name: name.to_owned() },
            job: name.to_owned(),
            instance: format!("h/{pid}"),
            build: Arc::default(),
            same_network: true,
        };
        Scan { processes: all.iter().map(process).collect(), hidden: 3, ..Scan::default() }
    }

    #[test]
    fn names_ids_and_parts_of_names() {
        let scan = scan(&[(11, "api"), (12, "api-gateway"), (13, "worker"), (14, "worker")]);
        let found = |text: &str| find(&scan, text).map(|process| process.life.pid).map_err(|error| error.to_string());
        for (text, want) in [("11", 11), ("api", 11), ("h/14", 14), ("gate", 12)] {
            assert_eq!(found(text), Ok(want), "{text}");
        }
        let several = found("worker").expect_err("two of them");
        assert!(several.contains("2 Go processes fit \"worker\"") && several.contains("      14  worker"), "{several}");
        let none = found("it's").expect_err("none");
        assert!(none.contains("12  api-gateway") && none.contains(r"sudo metrickit go inspect 'it'\''s'"), "{none}");
        assert!(found("").is_err_and(|error| error.contains("4 Go processes fit")));
    }

    #[test]
    fn what_is_no_go_process_is_told_so() {
        let own = std::process::id().to_string();
        let error = find(&scan(&[]), &own).expect_err("Rust").to_string();
        assert!(error.contains("is no Go process"), "{error}");
        let error = find(&scan(&[]), "999999999").expect_err("beyond the largest id").to_string();
        assert!(error.contains("there is no process 999999999"), "{error}");
        assert!(no_right(1, "init").contains("SYS_PTRACE"));
        assert_eq!(owner_of(i32::MAX), None);
    }
}
