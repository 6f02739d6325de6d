//! A network namespace whose loopback is slow, so that a socket's buffer really fills up: sent datagrams wait in the
//! queue of the line, and count against the buffer until they leave it.

use std::{io, process::Command, thread};

/// Runs `test` in a thread whose loopback carries `rate` ("40mbit"). Skips the test and tells why if this process may
/// not make a namespace, or the machine has no `tc` or no token bucket.
pub(crate) fn on_slow_line(rate: &str, test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let run = || match make_slow(rate) {
            Ok(()) => test(),
            Err(reason) => eprintln!("skipped: {reason}"),
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Puts the calling thread into a network namespace of its own, which ends with the thread.
fn make_slow(rate: &str) -> Result<(), String> {
    // SAFETY: no pointers. Only the calling thread changes its network namespace.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(format!("no network namespace: {}", io::Error::last_os_error()));
    }
    run("ip", "link set lo up")?;
    // A burst of two datagrams, and a queue that is longer than any socket's buffer here.
    run("tc", &format!("qdisc add dev lo root tbf rate {rate} burst 3000 limit 4000000"))
}

/// The child process inherits the namespace of the thread that makes it.
fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("no `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
