//! Instructions of the packet path, counted by callgrind in a run of this program under valgrind. They do not depend
//! on what else the machine does, but they are no time: caches and the kernel are not in them.

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{callgrind::Profile, report::Table, scenario::Outcome};

/// A step of the path, and the function that is it.
const STEPS: &[(&str, &str)] = &[
    ("taken in: open, parse, account, queue", "scenario::take_in"),
    ("  of it SRTP open", "Receiver::open_rtp"),
    (SENT_OUT, "scenario::send_out"),
    (FORWARD, "DownTrack::forward"),
    (SEAL, "Sender::seal_rtp"),
    (OUTBOX, "SendBatch::flush"),
];
const SENT_OUT: &str = "sent out: for all subscribers";
const FORWARD: &str = "  select and rewrite";
const SEAL: &str = "  SRTP seal";
const OUTBOX: &str = "  outbox to the system calls";

/// Functions that are listed by name.
const HOTTEST: usize = 12;

/// Counts for each number of subscribers.
pub(crate) fn measure(subscribers: &[usize]) -> io::Result<Table> {
    let columns: Vec<String> = subscribers.iter().map(ToString::to_string).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let title = "instructions per forwarded packet, 1 publisher and so many subscribers in process";
    let mut table = Table::new("core", title, &columns);
    if !valgrind_works() {
        table.note("not measured: there is no valgrind on this machine");
        return Ok(table);
    }
    let profiles = subscribers.iter().map(|&n| profile(n)).collect::<io::Result<Vec<_>>>()?;
    let per_packet = |cost: Option<u64>, outcome: &Outcome| {
        cost.map(|cost| cost as f64 / outcome.forwarded as f64)
    };
    table.row("all", "Ir", profiles.iter().map(|(p, o)| per_packet(Some(p.total), o)));
    for (name, function) in STEPS {
        let values: Vec<_> =
            profiles.iter().map(|(p, o)| per_packet(p.inclusive(function), o)).collect();
        // What the compiler inlined everywhere cannot be told apart.
        if values.iter().any(Option::is_some) {
            table.row(*name, "Ir", values);
        }
    }
    let rest = (0..profiles.len()).map(|at| {
        let value = |name| table.value(name, at);
        Some(value(SENT_OUT)? - value(FORWARD)? - value(SEAL)? - value(OUTBOX)?)
    });
    let rest: Vec<_> = rest.collect();
    table.row("  padding, counters, reports, timers", "Ir", rest);
    for (at, (profile, outcome)) in profiles.iter().enumerate() {
        if at == 0 || at + 1 == profiles.len() {
            let hottest = profile.hottest(HOTTEST).into_iter().map(|(name, cost)| {
                format!("{:.0} {}", cost.own as f64 / outcome.forwarded as f64, short(name))
            });
            let list = hottest.collect::<Vec<_>>().join(", ");
            table.note(format!("own code with {}: {list}", subscribers[at]));
        }
    }
    table.note("this is no time: the kernel and cache misses are not in it, and valgrind has AES-NI but neither VAES nor AVX-512");
    Ok(table)
}

/// Pictures that give about as many forwarded packets whatever the number of subscribers.
fn pictures(subscribers: usize) -> u32 {
    (3_000 / subscribers.max(1)).clamp(6, 300) as u32
}

fn valgrind_works() -> bool {
    let mut valgrind = Command::new("valgrind");
    let status = valgrind.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn profile(subscribers: usize) -> io::Result<(Profile, Outcome)> {
    let file = Temporary::new(subscribers);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*scenario*measured_frames*"])
        .arg(format!("--callgrind-out-file={}", file.0.display()))
        .arg(std::env::current_exe()?)
        .args(["core", &subscribers.to_string(), &pictures(subscribers).to_string()])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("valgrind ended with {}: {said}", output.status)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let outcome = parse(&said)
        .ok_or_else(|| io::Error::other(format!("the run under valgrind said {said:?}")))?;
    Ok((Profile::parse(&std::fs::read_to_string(&file.0)?), outcome))
}

/// What the run under valgrind says at its end.
pub(crate) fn say(outcome: Outcome) -> String {
    format!("accepted {} forwarded {}", outcome.accepted, outcome.forwarded)
}

fn parse(said: &str) -> Option<Outcome> {
    let (accepted, forwarded) = said.trim().strip_prefix("accepted ")?.split_once(" forwarded ")?;
    Some(Outcome { accepted: accepted.parse().ok()?, forwarded: forwarded.parse().ok()? })
}

/// A symbol's name without its hash.
fn short(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => name,
    }
}

/// A file that is removed when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(number: usize) -> Self {
        let name = format!("sfumato-bench-{}-{number}.callgrind", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        let _missing = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_survives_the_pipe() {
        let outcome = Outcome { accepted: 30, forwarded: 300 };
        assert_eq!(parse(&say(outcome)), Some(outcome));
        assert_eq!(parse("forwarded 3"), None);
    }

    #[test]
    fn every_number_of_subscribers_gives_enough_packets() {
        assert_eq!(pictures(1), 300);
        assert_eq!(pictures(100), 30);
        assert_eq!(pictures(1_000), 6);
    }

    #[test]
    fn names_lose_their_hash() {
        assert_eq!(short("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(short("memcpy"), "memcpy");
    }
}
