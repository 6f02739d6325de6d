//! Processor time and memory of a process, from /proc.

use std::{fs, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// User and system time of all its threads, those that ended too, in seconds.
    pub cpu_seconds: f64,
    /// The user time in it.
    pub user_seconds: f64,
    /// The system time in it.
    pub system_seconds: f64,
    /// Resident memory in bytes.
    pub memory: u64,
    /// Open files; 0 where they may not be read.
    pub files: u64,
}

impl Usage {
    /// What was used since `earlier`; memory and files are those of now.
    #[must_use]
    pub fn since(&self, earlier: &Usage) -> Usage {
        Usage {
            cpu_seconds: (self.cpu_seconds - earlier.cpu_seconds).max(0.0),
            user_seconds: (self.user_seconds - earlier.user_seconds).max(0.0),
            system_seconds: (self.system_seconds - earlier.system_seconds).max(0.0),
            ..*self
        }
    }

    /// The numbers of a process; `None` when there is none, or no /proc.
    pub fn of(pid: u32) -> Option<Usage> {
        Usage::read(&format!("/proc/{pid}"))
    }

    /// The numbers of this process.
    pub fn own() -> Option<Usage> {
        Usage::read("/proc/self")
    }

    fn read(base: &str) -> Option<Usage> {
        let stat = fs::read_to_string(format!("{base}/stat")).ok()?;
        let status = fs::read_to_string(format!("{base}/status")).ok()?;
        let files = fs::read_dir(format!("{base}/fd")).map_or(0, |dir| dir.count() as u64);
        let (user, system) = cpu_ticks(&stat)?;
        let per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
        Some(Usage {
            cpu_seconds: (user + system) as f64 / per_second,
            user_seconds: user as f64 / per_second,
            system_seconds: system as f64 / per_second,
            memory: resident(&status)?,
            files,
        })
    }
}

/// Fields 14 and 15 of `stat`; the name in field 2 may hold anything, parentheses too.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user, system))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1_024)
}

/// Datagrams that this network namespace dropped because a receive buffer, or the memory for all of them, was full;
/// IPv4 and IPv6.
pub(crate) fn buffer_drops() -> u64 {
    let v4 = fs::read_to_string("/proc/self/net/snmp").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/self/net/snmp6").unwrap_or_default();
    let full = ["RcvbufErrors", "MemErrors"];
    full.iter()
        .map(|name| counted_v4(&v4, name).unwrap_or(0) + counted_v6(&v6, name).unwrap_or(0))
        .sum()
}

/// The value with this name from a line of names and a line of values, both of which begin with the protocol.
fn counted_v4(snmp: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let at = lines.next()?.split_ascii_whitespace().position(|other| other == name)?;
    lines.next()?.split_ascii_whitespace().nth(at)?.parse().ok()
}

fn counted_v6(snmp6: &str, name: &str) -> Option<u64> {
    let counters = snmp6.lines().filter_map(|line| line.strip_prefix("Udp6"));
    counters.filter_map(|line| line.strip_prefix(name)).next()?.trim().parse().ok()
}

/// Raises the limit of open files as far as allowed: each bot is one file.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be raised, bots fail one by one at the limit, and say why.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Cores used between two looks.
pub(crate) fn cores(before: &Usage, after: &Usage, wall: Duration) -> f64 {
    after.since(before).cpu_seconds / wall.as_secs_f64().max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_field() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some((250, 50)));
        assert_eq!(cpu_ticks("7 (x) S"), None);
        assert_eq!(resident("Name: x\nVmRSS:\t  12 kB\n"), Some(12_288));
    }

    #[test]
    fn drops_are_found_by_name() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams RcvbufErrors MemErrors\nUdp: 5 77 9\n";
        assert_eq!(counted_v4(snmp, "RcvbufErrors"), Some(77));
        assert_eq!(counted_v4(snmp, "MemErrors"), Some(9));
        let snmp6 = "Udp6InErrors   3\nUdp6RcvbufErrors    4\n";
        assert_eq!(counted_v6(snmp6, "RcvbufErrors"), Some(4));
        assert_eq!(counted_v6(snmp6, "MemErrors"), None);
        assert_eq!((counted_v4("Udp:", "MemErrors"), counted_v6("", "MemErrors")), (None, None));
    }

    #[test]
    fn the_file_limit_is_as_high_as_it_may_be() {
        raise_file_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn we_can_see_ourselves() {
        let usage = Usage::own().unwrap();
        assert!(usage.memory > 100_000 && usage.files > 2);
        assert!(Usage::of(u32::MAX).is_none());
    }
}
