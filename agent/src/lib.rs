//! The agent: collectors for hosts and Go processes, disk queue, remote-write sender.
