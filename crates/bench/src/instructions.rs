//! Instructions of the packet path, counted by callgrind in a run of this program under valgrind. The counts do not
//! depend on what else the machine does, but they are not time: caches and the kernel are not in them.

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    callgrind::{Profile, Steps},
    limit::Cipher,
    report::Table,
    scenario::{Content, Outcome},
};

/// Which code belongs to which step; the first line that matches decides.
const CODE: &Steps = &[
    ("transport::srtp::sender", "seal"),
    ("transport::srtp::receiver", "ingress"),
    ("transport::srtp::window", "ingress"),
    ("sfumato_udp::recv", "recv"),
    ("sfumato_udp", "send"),
    ("worker::recv", "recv"),
    ("worker::demux", "demux"),
    ("worker::directory", "demux"),
    ("worker::paths", "demux"),
    ("transport::demux", "demux"),
    ("worker::ingress", "ingress"),
    ("up_track::mirror", "fanout"),
    ("up_track::cache", "fanout"),
    ("router::up_track", "ingress"),
    ("router::pool", "ingress"),
    ("router::packet", "ingress"),
    ("sfumato_congestion", "ingress"),
    ("rtp::write", "egress"),
    ("sfumato_rtp", "ingress"),
    ("worker::fanout", "fanout"),
    ("worker::flows", "fanout"),
    ("worker::tracks", "fanout"),
    ("worker::mail", "fanout"),
    ("worker::exit", "egress"),
    ("router::down_track", "egress"),
    ("worker::send", "send"),
];
/// The steps in their order, with a description.
const STEPS: &[(&str, &str)] = &[
    ("recv", "recv: datagrams from the kernel"),
    ("demux", "demux: which protocol, whose"),
    ("ingress", "ingress: open, parse, account"),
    ("fanout", "fanout: to the queue of the track"),
    ("egress", "exit: select, rewrite"),
    ("seal", "seal: SRTP"),
    ("send", "send: trains to the system calls"),
];

/// How many functions are listed by name.
const HOTTEST: usize = 12;
/// Subscribers in the rows that compare ciphers.
const COMPARED: usize = 100;

/// One run: subscribers, cipher, content.
type Run = (usize, Cipher, Content);

/// Counts instructions for each number of subscribers, for each cipher, and for sound.
pub(crate) fn measure(subscribers: &[usize]) -> io::Result<Table> {
    let pictures = |(n, cipher): (usize, Cipher)| (n, cipher, Content::Pictures);
    let mut runs: Vec<Run> = subscribers.iter().map(|&n| pictures((n, Cipher::Aes128))).collect();
    runs.extend([(COMPARED, Cipher::Aes256), (COMPARED, Cipher::AesCm)].map(pictures));
    runs.extend([0, 1].map(|n| (n, Cipher::Aes128, Content::Sound)));
    let columns: Vec<String> = runs.iter().map(|run| column(*run)).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let title = "instructions per forwarded packet, 1 publisher and so many subscribers in process; with 0: per packet";
    let mut table = Table::new("core", title, &columns);
    if !valgrind_works() {
        table.note("not measured: there is no valgrind on this machine");
        return Ok(table);
    }
    let profiles = runs.iter().map(|&run| profile(run)).collect::<io::Result<Vec<_>>>()?;
    fill(&mut table, &profiles);
    for at in [0, subscribers.len() - 1] {
        let (profile, outcome) = &profiles[at];
        let hottest = profile
            .hottest(HOTTEST)
            .into_iter()
            .map(|(name, own)| format!("{:.0} {}", own as f64 / packets(outcome), short(name)));
        let list = hottest.collect::<Vec<_>>().join(", ");
        table.note(format!("own code with {}: {list}", subscribers[at]));
    }
    table.note("AES-128-GCM where nothing is said; system calls count up to their door");
    table.note("this is no time: the kernel and cache misses are not in it, and valgrind has AES-NI but neither VAES nor AVX-512");
    Ok(table)
}

/// The packets that a run's instructions are divided among.
fn packets(outcome: &Outcome) -> f64 {
    outcome.forwarded.max(outcome.accepted) as f64
}

fn column((subscribers, cipher, content): Run) -> String {
    match cipher {
        Cipher::Aes128 if content == Content::Sound => format!("{subscribers} sound"),
        Cipher::Aes128 => subscribers.to_string(),
        Cipher::Aes256 => format!("{subscribers} AES-256"),
        Cipher::AesCm => format!("{subscribers} AES-CM"),
    }
}

fn fill(table: &mut Table, profiles: &[(Profile, Outcome)]) {
    let per_packet = |cost: i64, outcome: &Outcome| Some(cost as f64 / packets(outcome));
    table.row("all", "Ir", profiles.iter().map(|(p, o)| per_packet(p.total as i64, o)));
    for (step, name) in STEPS {
        let costs = profiles.iter().map(|(p, o)| per_packet(p.step(step) as i64, o));
        table.row(*name, "Ir", costs);
    }
    let rest = profiles.iter().map(|(p, o)| {
        let steps: u64 = STEPS.iter().map(|(step, _)| p.step(step)).sum();
        // A step that was counted twice would give a negative remainder.
        per_packet(p.total as i64 - steps as i64, o)
    });
    table.row("the rest: timers, reports, the turn", "Ir", rest);
}

/// Number of pictures that gives about the same number of forwarded packets for each number of subscribers.
fn pictures(subscribers: usize) -> u32 {
    (3_000 / subscribers.max(1)).clamp(6, 300) as u32
}

fn valgrind_works() -> bool {
    let mut valgrind = Command::new("valgrind");
    let status = valgrind.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn profile((subscribers, cipher, content): Run) -> io::Result<(Profile, Outcome)> {
    let file = Temporary::new(subscribers, cipher);
    let sound = (content == Content::Sound).then_some("--sound");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*scenario*measured_turn*"])
        .arg(format!("--callgrind-out-file={}", file.0.display()))
        .arg(std::env::current_exe()?)
        .args(["core", &subscribers.to_string(), &pictures(subscribers).to_string()])
        .arg(cipher.name())
        .args(sound)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("valgrind ended with {}: {said}", output.status)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let outcome = parse(&said)
        .ok_or_else(|| io::Error::other(format!("the run under valgrind said {said:?}")))?;
    Ok((Profile::parse(&std::fs::read_to_string(&file.0)?, CODE), outcome))
}

/// What the run under valgrind prints at its end.
pub(crate) fn say(outcome: Outcome) -> String {
    format!("accepted {} forwarded {}", outcome.accepted, outcome.forwarded)
}

fn parse(said: &str) -> Option<Outcome> {
    let (accepted, forwarded) = said.trim().strip_prefix("accepted ")?.split_once(" forwarded ")?;
    let (accepted, forwarded) = (accepted.parse().ok()?, forwarded.parse().ok()?);
    // Time under valgrind means nothing.
    Some(Outcome { accepted, forwarded, cpu: Duration::ZERO })
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
    fn new(subscribers: usize, cipher: Cipher) -> Self {
        let (pid, cipher) = (std::process::id(), cipher.name());
        let name = format!("sfumato-bench-{pid}-{subscribers}-{cipher}.callgrind");
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The file may never have been made.
        let _missing = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_survives_the_pipe() {
        let outcome = Outcome { accepted: 30, forwarded: 300, cpu: Duration::ZERO };
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
