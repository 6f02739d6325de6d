//! How much memory this process may use: the machine's, or less if a control group limits it.

use std::{fs, path::Path};

/// Most bytes that this process may use: the machine's memory, or the lowest limit of its control groups (cgroup
/// version 1 or 2). `None` if the kernel does not tell.
pub fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_limits(Path::new("/sys/fs/cgroup"), &groups);
    limits.into_iter().chain(machine).min()
}

/// `MemTotal` of /proc/meminfo (proc_meminfo(5)), in units of 1,024 bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// The limits of the groups that /proc/self/cgroup names (cgroups(7)), and of the groups above them.
fn group_limits(root: &Path, groups: &str) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        // hierarchy:controllers:path; version 2 has number 0 and no controllers.
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (mount, file) = match controllers {
            "" if number == "0" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Within a container the path may be one of the host that is not visible here; then the limit is that of the
        // mount's own root.
        let below = Path::new(path.trim_start_matches('/'));
        for group in below.ancestors() {
            let limit = fs::read_to_string(mount.join(group).join(file));
            // "max" is no limit; version 1 writes a number near 2^63 if there is none.
            limits.extend(limit.ok().and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_the_groups_counts() {
        let root = std::env::temp_dir().join(format!("sfumato-groups-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("memory.max", "max\n");
        write("a/memory.max", "1000000\n");
        write("a/b/memory.max", "2000000\n");
        assert_eq!(group_limits(&root, "0::/a/b\n").into_iter().min(), Some(1_000_000));
        assert!(group_limits(&root, "0::/\n3:cpu:/a\n").is_empty());
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/x/memory.limit_in_bytes", "5000\n");
        let old = "7:cpu,cpuacct:/x\n4:memory:/x/y/not/here\n";
        assert_eq!(group_limits(&root, old).into_iter().min(), Some(5_000));
        assert!(group_limits(&root, "nonsense\n::\n").is_empty());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn this_machine_has_memory() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(total("MemTotal: none\n"), None);
        assert!(memory().unwrap() > 1 << 20);
    }
}
