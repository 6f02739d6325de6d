//! The network between server and swarm: two network namespaces joined by a veth, so that the receiver's work in the
//! kernel is not billed to the sender; or loopback, which needs no root but bills it to the sender.
//!
//! A namespace lives as long as a process in it. The kernel kills that process when this program ends, however it
//! ends, and also every process started here, so nothing is left behind.

use std::{
    ffi::OsStr,
    fmt::Write,
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::proc;

/// Kinds of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Two namespaces and a veth; needs root.
    Veth,
    /// Loopback: the receiver's work in the kernel is billed to the sender.
    Loopback,
}

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 1);
const SWARM: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 2);
/// Nanoseconds between two polls of a receiving kernel thread, and the number of empty polls after which it sleeps.
const REST_NS: u32 = 100_000;
const REST_LOOKS: u32 = 20;
/// The nice value; see setpriority(2).
const NICE: i32 = -15;
/// The tools that a veth needs, each with its Debian package.
const TOOLS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("taskset", "util-linux"),
    ("chrt", "util-linux"),
    ("mount", "mount"),
];
/// Most time that a tool may take.
const TOOL_TIMEOUT: Duration = Duration::from_secs(5);

/// The network, and which cores belong to server and swarm.
pub(crate) struct Net {
    pub(crate) kind: Kind,
    /// The server's address.
    pub(crate) server: IpAddr,
    /// The swarm's address.
    pub(crate) swarm: IpAddr,
    /// Core of the server.
    pub(crate) server_core: usize,
    /// Cores of the swarm and of the kernel's receiving threads.
    pub(crate) swarm_cores: Vec<usize>,
    veth: Option<Veth>,
}

/// Two joined namespaces.
struct Veth {
    server: Place,
    swarm: Place,
    /// The kernel threads that receive for both ends.
    napi: Vec<u32>,
}

/// A namespace, its device, and the process that keeps it alive.
struct Place {
    holder: Child,
    device: String,
}

/// Counters of the kernel's receiving threads and of the devices.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WireStats {
    /// Processor time of the receiving threads of both ends.
    pub(crate) napi: Duration,
    /// Messages that the server's device dropped because the ring of the other end was full.
    pub(crate) drops: u64,
}

impl Net {
    /// Makes the network. The calling thread, and all processes that it starts, are in the swarm's namespace from then
    /// on.
    ///
    /// # Errors
    /// Not root, a tool is missing, or a tool fails.
    pub(crate) fn open(kind: Kind) -> io::Result<Self> {
        let cores = udp::cores();
        let server_core = cores[0];
        let rest: Vec<usize> = cores[1..].to_vec();
        let swarm_cores = if rest.is_empty() { vec![server_core] } else { rest };
        let (server, swarm, veth) = match kind {
            Kind::Loopback => (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, None),
            Kind::Veth => (SERVER, SWARM, Some(Veth::open(&swarm_cores)?)),
        };
        if veth.is_some() {
            // A higher priority than other programs of this machine; our children inherit it.
            rustix::process::setpriority_process(None, NICE)?;
        }
        // Nothing else runs on the server's core.
        udp::pin_to_core(swarm_cores[0])?;
        if let Some(veth) = &veth {
            veth.swarm.enter()?;
        }
        Ok(Self {
            kind,
            server: server.into(),
            swarm: swarm.into(),
            server_core,
            swarm_cores,
            veth,
        })
    }

    /// A command that runs in the server's namespace on these cores, and ends with this program.
    pub(crate) fn server_command(&self, cores: &[usize], program: &std::path::Path) -> Command {
        let mut command = ends_with_us();
        if let Some(veth) = &self.veth {
            command.arg("nsenter").arg(format!("--net={}", veth.server.path()));
        }
        command.args(["taskset", "-c", &list(cores)]).arg(program);
        command
    }

    /// A command that runs in the swarm's namespace, on its cores.
    pub(crate) fn swarm_command(&self, program: &std::path::Path) -> Command {
        let mut command = ends_with_us();
        // This thread is in the swarm's namespace, and so are its children.
        command.args(["taskset", "-c", &list(&self.swarm_cores)]).arg(program);
        command
    }

    /// As above, with a higher priority than everything else there where that is allowed. For a swarm that measures
    /// delay: its own delays must not count as the server's.
    pub(crate) fn urgent_swarm_command(&self, program: &std::path::Path) -> Command {
        if self.veth.is_none() {
            return self.swarm_command(program);
        }
        let mut command = ends_with_us();
        command.args(["taskset", "-c", &list(&self.swarm_cores), "chrt", "--fifo", "1"]);
        command.arg(program);
        command
    }

    /// Runs a closure on a thread in the server's namespace, on the server's core.
    pub(crate) fn on_server<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let core = self.server_core;
        let place = self.veth.as_ref().map(|veth| veth.server.file()).transpose()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                if let Some(place) = &place {
                    enter(place)?;
                }
                udp::pin_to_core(core)?;
                work()
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a measurement panicked")))
        })
    }

    /// The counters of the network so far; zeros for loopback.
    pub(crate) fn stats(&self) -> io::Result<WireStats> {
        let Some(veth) = &self.veth else { return Ok(WireStats::default()) };
        let mut stats = WireStats::default();
        for &thread in &veth.napi {
            stats.napi += proc::thread_cpu_of(thread)?;
        }
        let devices = fs::read_to_string(format!("/proc/{}/net/dev", veth.server.holder.id()))?;
        stats.drops = sent_drops(&devices, &veth.server.device).unwrap_or(0);
        Ok(stats)
    }

    /// Lets the server's device take whole trains (segmentation offload), or makes the kernel cut them on the sender's
    /// account. Does nothing on loopback, which always takes whole trains.
    pub(crate) fn segmentation_offload(&self, on: bool) -> io::Result<()> {
        let Some(veth) = &self.veth else { return Ok(()) };
        let state = if on { "on" } else { "off" };
        let mut command = veth.server.command("ethtool");
        run(command.args(["-K", &veth.server.device, "tx-udp-segmentation", state]))
    }

    /// Whether server and swarm share one core.
    pub(crate) fn shares_a_core(&self) -> bool {
        self.swarm_cores.contains(&self.server_core)
    }

    /// A few words about the network, for titles.
    pub(crate) fn words(&self) -> &'static str {
        match self.kind {
            Kind::Veth => "over a veth",
            Kind::Loopback => "over loopback",
        }
    }
}

impl Veth {
    fn open(swarm_cores: &[usize]) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other(
                "network namespaces need root: run as root (with ip, ethtool, nsenter, unshare, setpriv and taskset), or \
                 with --net loopback, where the receiver's work in the kernel is billed to the server",
            ));
        }
        if let Some(missing) = missing_tools(&std::env::var_os("PATH").unwrap_or_default()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, missing));
        }
        let pid = std::process::id();
        let server = Place::open(format!("s{pid}"))?;
        let swarm = Place::open(format!("c{pid}"))?;
        run(server
            .command("ip")
            .args(["link", "add", &server.device, "mtu", "1500", "type", "veth", "peer", "name"])
            .args([&swarm.device, "mtu", "1500", "netns", &swarm.holder.id().to_string()]))?;
        server.configure(SERVER, false)?;
        swarm.configure(SWARM, true)?;
        let mut napi = Vec::new();
        for place in [&server, &swarm] {
            napi.extend(place.receiving_threads(swarm_cores)?);
        }
        Ok(Self { server, swarm, napi })
    }
}

impl Place {
    fn open(device: String) -> io::Result<Self> {
        let holder = ends_with_us()
            .args(["unshare", "--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("setpriv: {e}")))?;
        let mut place = Self { holder, device };
        let ours = fs::read_link("/proc/self/ns/net")?;
        let end = Instant::now() + TOOL_TIMEOUT;
        while fs::read_link(place.path()).is_ok_and(|theirs| theirs == ours) {
            if let Some(status) = place.holder.try_wait()? {
                return Err(io::Error::other(format!("unshare --net ended with {status}")));
            }
            if Instant::now() > end {
                return Err(io::Error::other("unshare --net makes no namespace"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(place)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    fn file(&self) -> io::Result<File> {
        File::open(self.path())
    }

    fn enter(&self) -> io::Result<()> {
        enter(&self.file()?)
    }

    /// A command in this namespace.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// `rested`: the device polls at intervals once it has been woken, as network cards do (interrupt moderation).
    /// Without it, each message of the other end pays for waking a thread on another core, which was a third of the
    /// bare sender's price.
    fn configure(&self, address: Ipv4Addr, rested: bool) -> io::Result<()> {
        let device = &self.device;
        run(self.command("ip").args(["addr", "add", &format!("{address}/24"), "dev", device]))?;
        run(self.command("ip").args(["link", "set", "lo", "up"]))?;
        // Received segments are joined (GRO), and trains travel whole: a device that can segment would cut them after
        // the sender's processor time was taken.
        run(self.command("ethtool").args(["-K", device, "tso", "off", "gro", "on"]))?;
        run(self.command("ip").args(["link", "set", device, "up"]))?;
        // /sys shows the devices of the namespace in which it was mounted.
        let mut settings = vec![("threaded", 1)];
        if rested {
            settings.extend([("napi_defer_hard_irqs", REST_LOOKS), ("gro_flush_timeout", REST_NS)]);
        }
        let mut script = "mount -t sysfs s /sys".to_owned();
        for (name, value) in settings {
            write!(script, " && echo {value} > /sys/class/net/{device}/{name}")
                .map_err(io::Error::other)?;
        }
        run(self.command("unshare").args(["--mount", "sh", "-c", &script]))
    }

    /// Finds the kernel threads that receive for the device, and puts them on these cores, with a higher priority than
    /// everything else there: time that packets wait for them would count as the network's delay.
    fn receiving_threads(&self, cores: &[usize]) -> io::Result<Vec<u32>> {
        let beginning = format!("napi/{}-", self.device);
        let threads = proc::named(&beginning)?;
        if threads.is_empty() {
            return Err(io::Error::other(format!("the kernel has no thread {beginning}*")));
        }
        for thread in &threads {
            let thread = thread.to_string();
            run(Command::new("taskset").args(["-p", "-c", &list(cores), &thread]))?;
            run(Command::new("chrt").args(["--fifo", "--pid", "2", &thread]))?;
        }
        Ok(threads)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The process may be gone already.
        let _gone = self.holder.kill();
        let _status = self.holder.wait();
    }
}

/// Says which of the tools are not on this search path, and how to install them; `None` when all are there.
fn missing_tools(path: &OsStr) -> Option<String> {
    let is_there = |tool: &str| std::env::split_paths(path).any(|dir| dir.join(tool).is_file());
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !is_there(tool)).collect();
    let names: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let are = if names.len() == 1 { "is" } else { "are" };
    (!names.is_empty()).then(|| {
        format!("{} {are} missing: apt-get install {}", names.join(", "), packages.join(" "))
    })
}

fn enter(place: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// The beginning of a command that the kernel kills when the thread that started it ends.
fn ends_with_us() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Runs a tool until it ends.
fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| {
        io::Error::new(e.kind(), format!("{}: {e}", command.get_program().to_string_lossy()))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?} ended with {}: {}", output.status, said.trim())))
}

/// Packets that a device did not send, from `/proc/net/dev`: eight fields of receiving, then bytes, packets, errors
/// and drops of sending.
fn sent_drops(text: &str, device: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device))?;
    line.strip_prefix(':')?.split_ascii_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_the_device_are_found() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n\
                    \x20   lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                    \x20s17: 1 2 0 0 0 0 0 0 900 10 0 42 0 0 0 0\n";
        assert_eq!(sent_drops(text, "s17"), Some(42));
        assert_eq!(sent_drops(text, "lo"), Some(12));
        assert_eq!(sent_drops(text, "s1"), None);
    }

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let dir = std::env::temp_dir().join(format!("sfumato-tools-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        for (tool, _) in TOOLS.iter().filter(|(tool, _)| *tool != "ethtool") {
            File::create(dir.join(tool)).unwrap();
        }
        let without_ethtool = missing_tools(dir.as_os_str());
        File::create(dir.join("ethtool")).unwrap();
        let complete = missing_tools(dir.as_os_str());
        fs::remove_dir_all(&dir).unwrap();
        let said = Some("ethtool is missing: apt-get install ethtool".to_owned());
        assert_eq!((without_ethtool, complete), (said, None));
        let all = missing_tools(OsStr::new("/nowhere")).unwrap();
        assert!(all.starts_with("ip, ethtool, ") && all.contains("are missing"), "{all}");
        assert!(all.ends_with("apt-get install iproute2 ethtool util-linux mount"), "{all}");
    }

    #[test]
    fn cores_are_a_list() {
        assert_eq!(list(&[1, 2, 5]), "1,2,5");
    }

    #[test]
    fn a_tool_that_fails_says_why() {
        let error = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
        assert!(run(&mut Command::new("/no/such/tool")).is_err());
    }

    #[test]
    #[ignore = "needs root, ip, ethtool and a kernel that allows namespaces"]
    fn a_network_vanishes_with_its_holders() {
        // In a thread of its own, because it changes its namespace.
        let holders = std::thread::spawn(|| {
            let net = Net::open(Kind::Veth).unwrap();
            let listener = net.on_server(|| std::net::TcpListener::bind((SERVER, 0))).unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            net.segmentation_offload(false).unwrap();
            assert_eq!(net.stats().unwrap().drops, 0);
            let veth = net.veth.as_ref().unwrap();
            [veth.server.holder.id(), veth.swarm.holder.id()]
        });
        for holder in holders.join().unwrap() {
            assert!(!fs::exists(format!("/proc/{holder}")).unwrap());
        }
    }
}
