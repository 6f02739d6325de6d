//! What Linux says of processes and threads (`/proc`), read as text.

use std::{fs, io, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of the calling thread, to the nanosecond.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Processor time of all threads that a process has now. It leaves out threads that ended, so it fits processes that
/// keep their threads; it is exact to the microsecond, while `/proc/PID/stat` counts ticks.
pub(crate) fn process_cpu(pid: u32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += schedstat(&text).ok_or_else(|| bad("schedstat", &text))?;
    }
    if sum.is_zero() {
        // The kernel keeps no schedstat.
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        return stat(&text).ok_or_else(|| bad("stat", &text));
    }
    Ok(sum)
}

/// Processor time of one thread, or of a kernel thread.
pub(crate) fn thread_cpu_of(thread: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    schedstat(&text).ok_or_else(|| bad("schedstat", &text))
}

/// Processor time of the threads of a process, with their names.
pub(crate) fn threads(pid: u32) -> io::Result<Vec<(String, Duration)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        let (Ok(name), Ok(text)) =
            (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let time = schedstat(&text).ok_or_else(|| bad("schedstat", &text))?;
        threads.push((name.trim_end().to_owned(), time));
    }
    Ok(threads)
}

/// Open files of a process.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Processes, also kernel threads, whose name begins so.
pub(crate) fn named(beginning: &str) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The process may have ended meanwhile.
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with(beginning) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    resident_of(&text).ok_or_else(|| bad("status", &text))
}

/// Load averages over one, five and fifteen minutes.
pub(crate) fn load() -> Option<[f64; 3]> {
    load_of(&fs::read_to_string("/proc/loadavg").ok()?)
}

/// Hundredths of a second that the host gave to others while this machine could have run, and all that have passed,
/// over all cores (proc_stat(5)).
pub(crate) fn stolen() -> Option<[f64; 2]> {
    stolen_of(&fs::read_to_string("/proc/stat").ok()?)
}

fn bad(file: &str, text: &str) -> io::Error {
    io::Error::other(format!("/proc: {file} reads {text:?}"))
}

/// The first number is the time on the processor in nanoseconds (Documentation/scheduler/sched-stats.rst).
fn schedstat(text: &str) -> Option<Duration> {
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
fn stat(text: &str) -> Option<Duration> {
    // The name, in parentheses, may hold spaces and parentheses.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

fn resident_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn stolen_of(text: &str) -> Option<[f64; 2]> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // User time contains guest time, which is a later field.
    let times: Vec<f64> =
        line.split_ascii_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some([*times.get(7)?, times.iter().sum()])
}

fn load_of(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_ascii_whitespace();
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_from_both_files() {
        assert_eq!(schedstat("123456789 42 7\n"), Some(Duration::from_nanos(123_456_789)));
        assert_eq!(schedstat(""), None);
        let text = "17 (a) b (c) S 1 17 17 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 3 0 1 2 3\n";
        assert_eq!(stat(text), Some(Duration::from_secs(3)));
        assert_eq!(stat("17 (a) S 1"), None);
    }

    #[test]
    fn memory_and_load_are_read() {
        let text = "Name:\tsfumato\nVmHWM:\t  9000 kB\nVmRSS:\t  8192 kB\nThreads:\t3\n";
        assert_eq!(resident_of(text), Some(8 << 20));
        assert_eq!(resident_of("Name:\tkthreadd\n"), None);
        let text = "cpu  10 0 20 60 1 2 3 4 50 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(stolen_of(text), Some([4.0, 100.0]));
        assert_eq!(stolen_of("cpu  1 2 3\n"), None);
        assert_eq!(load_of("0.52 0.58 0.59 1/300 4242\n"), Some([0.52, 0.58, 0.59]));
    }

    #[test]
    fn work_shows_in_the_time_of_the_thread_and_the_process() {
        let thread = thread_cpu();
        let begun = std::time::Instant::now();
        while thread_cpu() - thread < Duration::from_millis(30) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the clock stands still");
        }
        // Threads of other tests come and go. This thread is in the sum, apart from the time since the last tick.
        assert!(process_cpu(std::process::id()).unwrap() > Duration::from_millis(15));
        assert!(resident(std::process::id()).unwrap() > 100_000);
    }
}
