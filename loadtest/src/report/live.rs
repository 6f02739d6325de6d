//! The live display: a block of lines that is repainted every second. Nothing when standard error is not a terminal.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use rustix::termios::tcgetwinsize;

use super::Second;
use crate::{
    stats::Reasons,
    threshold::loss,
    units::{show_bitrate, show_count, show_time},
};

/// The live table.
#[derive(Debug)]
pub(crate) struct Live {
    shown: bool,
    title: String,
    duration: Duration,
    /// Lines of the last painting.
    painted: usize,
    freezes: u64,
}

/// Cells of the progress bar.
const BAR: u64 = 40;

impl Live {
    /// A table on the terminal, where standard error is one.
    pub(crate) fn new(title: String, duration: Duration, quiet: bool) -> Live {
        let shown = !quiet && stderr().is_terminal();
        Live { shown, title, duration, painted: 0, freezes: 0 }
    }

    /// A second has ended.
    pub(crate) fn second(&mut self, second: &Second, failures: &Reasons) {
        self.freezes += second.counters.freezes;
        if !self.shown {
            return;
        }
        // A line that the terminal wraps would take more lines than are counted here. Some terminals do not report
        // their width.
        let columns = tcgetwinsize(stderr()).map_or(0, |size| usize::from(size.ws_col));
        let width = if columns == 0 { 80 } else { columns.max(20) } - 1;
        let whole = self.block(second, failures);
        let cut = whole.lines().map(|line| line.chars().take(width).chain(['\n']));
        let block: String = cut.flatten().collect();
        let mut out = String::new();
        if self.painted > 0 {
            // Moves to the first line of the block, and clears from there on.
            _ = write!(out, "\x1b[{}F\x1b[J", self.painted);
        }
        self.painted = block.lines().count();
        out += &block;
        // A terminal that went away does not stop the run.
        let _gone = stderr().write_all(out.as_bytes());
    }

    /// Leaves the table as it is.
    pub(crate) fn end(&mut self) {
        if self.shown && self.painted > 0 {
            let _gone = stderr().write_all(b"\n");
        }
        self.shown = false;
    }

    fn block(&self, second: &Second, failures: &Reasons) -> String {
        let mut out = String::new();
        let c = &second.counters;
        let whole = self.duration.as_secs().max(1);
        let done = (BAR * second.at.min(whole) / whole) as usize;
        let bar = format!("{}{}", "=".repeat(done), " ".repeat(BAR as usize - done));
        _ = writeln!(out, "{}", self.title);
        _ = writeln!(out, "[{bar}] {} of {whole} s", second.at);
        _ = writeln!(
            out,
            "bots      {:>10} sending   {:>10} watching  {:>8} joining  {:>8} failed",
            show_count(second.publishers),
            show_count(second.viewers),
            show_count(second.joining),
            show_count(second.failed),
        );
        let rate = show_bitrate(c.received_bytes as f64 * 8.0);
        let (packets, lost) = (show_count(c.received_packets), loss(c).unwrap_or(0.0) * 100.0);
        _ = writeln!(out, "received  {packets:>10} packets/s {rate:>14}  {lost:>8.3} % lost");
        let quantile = |q| second.times.delay.quantile(q).map_or("-".to_owned(), show_time);
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        let frozen = show_count(self.freezes);
        _ = writeln!(out, "delay     {p50:>10} p50       {p99:>10} p99       {frozen:>8} freezes");
        let cores =
            |cores: Option<f64>| cores.map_or("-".to_owned(), |cores| format!("{cores:.2}"));
        let (server, swarm) = (cores(second.server_cpu), cores(second.swarm_cpu));
        let lag = second.times.lag.quantile(0.99).map_or("-".to_owned(), show_time);
        _ = writeln!(
            out,
            "cores     {server:>10} server    {swarm:>10} swarm     {lag:>8} lag p99"
        );
        for (reason, count) in failures.sorted().into_iter().take(3) {
            _ = writeln!(out, "failed    {:>10} x {reason:.80}", show_count(count));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counters, Times};

    #[test]
    fn the_table_shows_what_counts() {
        let live = Live::new("webinar".into(), Duration::from_secs(10), false);
        let mut times = Times::default();
        times.delay.record(Duration::from_millis(3));
        let counters = Counters {
            received_packets: 12_345,
            expected_packets: 12_400,
            received_bytes: 1_000_000,
            ..Counters::default()
        };
        let second = Second {
            at: 5,
            publishers: 1,
            viewers: 40,
            joining: 9,
            joined: 41,
            failed: 2,
            counters,
            times,
            bystanders: None,
            server_cpu: Some(0.5),
            server_memory: None,
            swarm_cpu: None,
        };
        let mut failures = Reasons::default();
        failures.add("http 503");
        let block = live.block(&second, &failures);
        for text in [
            "12,345 packets/s",
            "8.0 Mbit/s",
            "0.444 % lost",
            "3.00 ms p99",
            "0.50 server",
            "1 x http 503",
            "[====================  ",
        ] {
            assert!(block.contains(text), "{text} in\n{block}");
        }
        assert!(block.lines().all(|line| line.len() < 100));
    }
}
