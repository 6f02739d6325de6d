//! The command itself: exit codes, where reports go, Ctrl-C.
#![expect(clippy::unwrap_used, reason = "a test that cannot begin fails")]

#[expect(dead_code, reason = "bad manners are for the other tests")]
mod front;

use std::{
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use front::{Front, Manner};
use rustix::process::{Pid, Signal, kill_process};

fn command(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sfumato-loadtest"));
    command.args(words.split_whitespace()).stdin(Stdio::null());
    command.env_remove("SFUMATO_LOADTEST_SERVER").env_remove("SFUMATO_LOADTEST_TOKEN");
    command
}

fn run(words: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_cannot_be_done_is_code_two_and_a_line() {
    for (words, expected) in [
        ("webinar", "where is the server?"),
        ("party --server http://127.0.0.1:9", "no scenario"),
        ("webinar --server http://127.0.0.1:9 --server-pid 4194304", "no process"),
        ("webinar --server http://127.0.0.1:9 --fail-if nonsense", "no threshold"),
        ("webinar --server http://127.0.0.1:9 --json /nowhere/report.json", "/nowhere/report.json"),
    ] {
        let (code, stdout, stderr) = run(words);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{words}");
        assert!(stderr.contains(expected), "{words}: {stderr}");
    }
}

#[test]
fn a_plan_is_told_and_not_done() {
    let (code, stdout, stderr) = run("flash --plan --server http://127.0.0.1:9 --viewers 7");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("7 viewers"), "{stdout}");
}

#[test]
fn nobody_who_joins_is_code_one() {
    let start = Instant::now();
    let (code, stdout, stderr) =
        run("webinar --server http://127.0.0.1:9 --viewers 1 --duration 60s");
    assert!(start.elapsed() < Duration::from_secs(30), "nothing to wait for");
    assert_eq!((code, stderr.as_str()), (Some(1), ""), "nothing to see without a terminal");
    assert!(stdout.contains("no peer could join") && stdout.contains("http: "), "{stdout}");
}

#[test]
fn thresholds_set_the_code_and_reports_are_written() {
    let front = Front::start(Manner::Good);
    let dir = std::env::temp_dir().join(format!("loadtest-reports-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (json, html) = (dir.join("r.json"), dir.join("r.html"));
    let base = format!(
        "webinar --server {} --viewers 2 --join-over 0s --duration 1s --json {} --html {}",
        front.url(),
        json.display(),
        html.display()
    );
    assert_eq!(run(&format!("{base} --fail-if failed>0")).0, Some(0));
    let (code, stdout, _) = run(&format!("{base} --fail-if packets>10"));
    assert_eq!(code, Some(1));
    assert!(stdout.contains("BROKEN"), "{stdout}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!((&report["bots"]["joined"], &report["good"]), (&3.into(), &false.into()));
    assert!(std::fs::read_to_string(&html).unwrap().contains("<svg"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn ctrl_c_ends_in_order_with_the_report() {
    let front = Front::start(Manner::Good);
    let words = format!("webinar --server {} --viewers 2 --duration 60s --json -", front.url());
    let start = Instant::now();
    let child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["interrupted"], &report["bots"]["undeleted"]), (&true.into(), &0.into()));
    assert_eq!(front.open_sessions(), 0);
}
