//! The swarm (`sfumato-loadtest`) as a child process on the cores that are not the server's, and the numbers of its
//! report.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{net::Net, proc, server::Server};

/// A running swarm.
pub(crate) struct Swarm {
    /// `None` once it has ended.
    child: Option<Child>,
}

/// The report of a swarm, as JSON.
#[derive(Debug)]
pub(crate) struct Report(Value);

impl Swarm {
    /// Starts a swarm; `flags` begin with the scenario.
    pub(crate) fn start(
        net: &Net,
        binary: &Path,
        server: &Server,
        flags: &[String],
    ) -> io::Result<Self> {
        Self::spawn(net, net.swarm_command(binary), server, flags)
    }

    /// Starts a swarm with a higher priority than the other processes there.
    pub(crate) fn start_urgent(
        net: &Net,
        binary: &Path,
        server: &Server,
        flags: &[String],
    ) -> io::Result<Self> {
        Self::spawn(net, net.urgent_swarm_command(binary), server, flags)
    }

    fn spawn(
        net: &Net,
        mut command: Command,
        server: &Server,
        flags: &[String],
    ) -> io::Result<Self> {
        command.args(flags).args(["--quiet", "--json", "-", "--server", &server.url()]);
        command.args(["--threads", &net.swarm_cores.len().to_string()]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("setpriv: {e}")))?;
        Ok(Self { child: Some(child) })
    }

    /// Its processor time so far.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        self.child.as_ref().map_or(Ok(Duration::ZERO), |child| proc::process_cpu(child.id()))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// The swarm fails; the error holds what it printed.
    pub(crate) fn finish(mut self) -> io::Result<Report> {
        let child = self.child.take().ok_or_else(|| io::Error::other("the swarm has ended"))?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        Report::parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
            io::Error::other(format!("the swarm ended with {}: {}", output.status, said.trim()))
        })
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _gone = child.kill();
            let _status = child.wait();
        }
    }
}

impl Report {
    /// Reads the JSON; text for people may stand before it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let start = if text.starts_with('{') { 0 } else { text.find("\n{")? + 1 };
        serde_json::from_str(&text[start..]).ok().map(Self)
    }

    /// The number at this JSON pointer, as in `/times_ms/delay/p99`.
    pub(crate) fn number(&self, pointer: &str) -> Option<f64> {
        self.0.pointer(pointer)?.as_f64()
    }

    /// The largest value of a number over the seconds of the run.
    pub(crate) fn worst_second(&self, pointer: &str) -> Option<f64> {
        let seconds = self.0.get("timeline")?.as_array()?;
        seconds.iter().filter_map(|second| second.pointer(pointer)?.as_f64()).reduce(f64::max)
    }

    /// Bots that joined.
    pub(crate) fn joined(&self) -> f64 {
        self.number("/bots/joined").unwrap_or(0.0)
    }

    /// Why bots failed, as text; empty when none did.
    pub(crate) fn failures(&self) -> String {
        let failed = self.number("/bots/failed").unwrap_or(0.0);
        if failed == 0.0 {
            return String::new();
        }
        format!("{failed} bots failed: {}", self.0["failures"])
    }
}

/// A flag with its value.
pub(crate) fn flag(name: &str, value: impl std::fmt::Display) -> [String; 2] {
    [format!("--{name}"), value.to_string()]
}

/// A duration as the swarm's flags take it.
pub(crate) fn time(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_the_report() {
        let text = "webinar: so and so\n\n{\n \"bots\": {\"joined\": 6, \"failed\": 2},\n\
                    \"failures\": {\"timeout\": 2}, \"loss\": null,\n\
                    \"times_ms\": {\"delay\": {\"p99\": 2.5}}}\n";
        let report = Report::parse(text).unwrap();
        assert_eq!(report.number("/times_ms/delay/p99"), Some(2.5));
        assert_eq!(report.number("/times_ms/delay/p50"), None);
        assert_eq!(report.number("/loss"), None);
        assert_eq!(report.worst_second("/p99"), None);
        assert_eq!(report.joined(), 6.0);
        assert!(report.failures().contains("timeout"));
        assert!(Report::parse("no server").is_none());
    }

    #[test]
    fn the_worst_second_is_found() {
        let report =
            Report::parse("{\"timeline\": [{\"p99\": 2}, {}, {\"p99\": 7.5}, {\"p99\": 1}]}");
        assert_eq!(report.unwrap().worst_second("/p99"), Some(7.5));
    }

    #[test]
    fn flags_are_what_the_swarm_reads() {
        assert_eq!(
            flag("join-over", time(Duration::from_millis(2_500))),
            ["--join-over", "2500ms"]
        );
    }
}
