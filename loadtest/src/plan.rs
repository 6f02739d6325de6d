//! Turns the settings into a plan: scenarios by name, files, defaults, and checks.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use url::Url;

use crate::{
    args::{Arguments, Settings, Video},
    bot::link::Faults,
    feeds::{self, Feeds},
    media::Feed,
    members::{self, Members},
    random::Random,
    threshold::Threshold,
    units::Time,
};

/// The names of the scenarios.
pub(crate) const SCENARIOS: [&str; 8] =
    ["webinar", "meeting", "audio", "rooms", "churn", "ramp", "flash", "soak"];

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name of the scenario, or of its file.
    pub name: String,
    pub(crate) whip: String,
    pub(crate) whep: String,
    pub(crate) tokens: Vec<Arc<str>>,
    pub(crate) insecure: bool,
    pub(crate) duration: Duration,
    /// Time at the beginning that the totals leave out: whole seconds.
    pub(crate) warm_up: Duration,
    pub(crate) rooms: u32,
    /// The room's name; of several rooms, the beginning of their names.
    pub(crate) room: String,
    pub(crate) publishers: u32,
    pub(crate) viewers: u32,
    /// Viewers of each room that join before the others, and stay.
    pub(crate) bystanders: u32,
    /// Share of the viewers that stop reading.
    pub(crate) stalled: f64,
    pub(crate) meeting: bool,
    pub(crate) join_over: Duration,
    pub(crate) patience: Duration,
    pub(crate) churn: f64,
    pub(crate) silent: f64,
    pub(crate) moves: f64,
    pub(crate) ramp: Option<Ramp>,
    /// Bots join as members with room sessions.
    pub(crate) members: Option<Members>,
    pub(crate) audio: Option<Feed>,
    pub(crate) video: Vec<Feed>,
    pub(crate) faults: Faults,
    /// Share of the viewers with faults; `None`: all viewers and publishers.
    pub(crate) faulty: Option<f64>,
    /// The conditions under which the run fails.
    pub thresholds: Vec<Threshold>,
    pub(crate) server_pid: Option<u32>,
    /// The file of the JSON report.
    pub json: Option<PathBuf>,
    /// The file of the HTML report.
    pub html: Option<PathBuf>,
    /// No table during the run.
    pub quiet: bool,
    pub(crate) threads: usize,
    pub(crate) requests: usize,
    pub(crate) bind: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) server_ip: Option<IpAddr>,
    pub(crate) gro: bool,
    pub(crate) gso: bool,
    /// Packets of a frame that are sent at once; `None`: like a browser's pacer.
    pub(crate) burst: Option<u16>,
    pub(crate) seed: u64,
    /// A description of the media.
    pub media: String,
}

/// The growth of a ramp.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ramp {
    pub(crate) step: u32,
    pub(crate) step_time: Duration,
    pub(crate) max: u32,
}

/// The default time within which all join; a quarter of the run if that is shorter.
const JOIN_OVER: Duration = Duration::from_secs(5);
/// The number of bots in a run: it is limited by the ids in stamps and by open files.
const MAX_BOTS: u64 = 60_000;

impl Plan {
    /// Makes a plan from the command line.
    ///
    /// # Errors
    /// What is not possible, and what is allowed.
    pub fn resolve(arguments: Arguments) -> Result<Plan, String> {
        let Arguments { scenario, settings, .. } = arguments;
        let (name, settings) = if SCENARIOS.contains(&scenario.as_str()) {
            let preset = preset(&scenario);
            (scenario, settings.or(preset))
        } else {
            let (name, file) = read(&scenario)?;
            let base = file.scenario.clone().unwrap_or_else(|| "webinar".to_owned());
            if !SCENARIOS.contains(&base.as_str()) {
                let known = SCENARIOS.join(", ");
                return Err(format!("{scenario}: scenario = {base:?} is unknown; known: {known}"));
            }
            (name, settings.or(file).or(preset(&base)))
        };
        Plan::from_settings(name, settings)
    }

    fn from_settings(name: String, settings: Settings) -> Result<Plan, String> {
        let (whip, whep) = endpoints(&settings)?;
        let example = expand(&whip, "room", "p", "v")?;
        let server = example
            .socket_addrs(|| None)
            .ok()
            .and_then(|all| all.into_iter().next())
            .ok_or_else(|| format!("{example}: the host has no address"))?;
        let bind = bind_address(settings.bind, server)?;
        let mut random = Random::new(settings.seed.unwrap_or_else(Random::seed));
        let seed = random.next();
        let Feeds { audio, video, burst, words } = feeds::resolve(&settings, random.next())?;
        let duration = time(settings.duration, 30);
        let plan = Plan {
            ramp: ramp(&settings),
            members: members::resolve(&settings)?,
            name,
            whip,
            whep,
            tokens: tokens(&settings)?,
            insecure: settings.insecure.unwrap_or(false),
            duration,
            warm_up: whole_seconds(time(settings.warm_up, 0)),
            rooms: settings.rooms.unwrap_or(1),
            // The name differs in each run, even with the same seed.
            room: settings.room.unwrap_or_else(|| format!("load-{:08x}", Random::seed() as u32)),
            publishers: settings.publishers.unwrap_or(1),
            viewers: settings.viewers.unwrap_or(0),
            bystanders: settings.bystanders.unwrap_or(0),
            stalled: settings.stalled.map_or(0.0, |share| share.0),
            meeting: settings.meeting.unwrap_or(false),
            // In a short run all have joined after a quarter of it.
            join_over: settings.join_over.map_or(duration.min(JOIN_OVER * 4) / 4, |over| over.0),
            patience: time(settings.join_timeout, 15),
            churn: rate("churn", settings.churn)?,
            silent: settings.silent.map_or(0.25, |share| share.0),
            moves: rate("moves", settings.moves)?,
            audio,
            video,
            faults: Faults {
                loss: settings.loss.map_or(0.0, |share| share.0),
                delay: settings.delay.map_or(Duration::ZERO, |time| time.0),
                jitter: settings.jitter.map_or(Duration::ZERO, |time| time.0),
                rate: settings.rate.map_or(0, |rate| rate.0),
            },
            faulty: settings.faulty.map(|share| share.0),
            thresholds: settings.fail_if,
            server_pid: settings.server_pid,
            json: settings.json,
            html: settings.html,
            quiet: settings.quiet.unwrap_or(false),
            threads: settings.threads.unwrap_or_else(default_threads).clamp(1, 256),
            requests: settings.requests.unwrap_or(32).clamp(1, 512),
            bind,
            local: local_address(bind, server),
            server_ip: Some(server.ip()),
            gro: settings.gro.unwrap_or(true),
            gso: settings.gso.unwrap_or(false),
            burst,
            seed,
            media: words,
        };
        plan.check()
    }

    fn check(self) -> Result<Plan, String> {
        // A member with a room session is one bot, also where it sends and receives.
        let sessions = if self.meeting && self.members.is_none() { 2 } else { 1 };
        let members = u64::from(self.publishers) * sessions;
        let viewers = self.ramp.map_or(u64::from(self.viewers), |ramp| {
            u64::from(ramp.max).div_ceil(u64::from(self.rooms).max(1))
        });
        let bots = u64::from(self.rooms) * (members + viewers + u64::from(self.bystanders));
        if bots == 0 || bots > MAX_BOTS {
            return Err(format!("{bots} bots; 1 to {MAX_BOTS} are allowed"));
        }
        if self.audio.is_none() && self.video.is_empty() && self.members.is_none() {
            return Err("video = off and audio = off: one of them has to be there".to_owned());
        }
        if self.duration < Duration::from_secs(1) {
            return Err("a run lasts a second at least".to_owned());
        }
        if self.warm_up >= self.duration {
            let (warm_up, duration) = (self.warm_up, self.duration);
            return Err(format!("warm-up = {warm_up:?}: nothing is left of {duration:?}"));
        }
        Ok(self)
    }

    /// The plan in one line.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "{}: {} of {}",
            self.name,
            plural(self.rooms, "room"),
            plural(self.publishers, "publisher"),
        );
        if self.meeting && self.members.is_none() {
            text += " that watch each other";
        }
        match self.ramp {
            Some(ramp) => {
                let (step, every) = (ramp.step, ramp.step_time);
                text += &format!(" and {step} viewers more each {every:?} up to {}", ramp.max);
            }
            None if self.viewers > 0 || !self.meeting => {
                text += &format!(" and {}", plural(self.viewers, "viewer"));
            }
            None => {}
        }
        if self.bystanders > 0 {
            text += &format!(" beside {}", plural(self.bystanders, "bystander"));
        }
        text += &format!(", {:?}; {}", self.duration, self.media);
        if let Some(members) = &self.members {
            text += &format!("; {}", members.describe());
        }
        if self.churn > 0.0 {
            text += &format!("; {} viewers a second come and go", self.churn);
        }
        if self.stalled > 0.0 {
            text += &format!("; {:.0} % of the viewers stall", self.stalled * 100.0);
        }
        if self.moves > 0.0 {
            text += &format!("; {} a second change their address", self.moves);
        }
        if self.faults.any() {
            text += &format!("; bad lines ({})", self.faults);
            match self.faulty {
                Some(share) => text += &format!(" for {:.0} % of the viewers", share * 100.0),
                None => text += " for all",
            }
        }
        if !self.warm_up.is_zero() {
            text += &format!("; the first {:?} do not count", self.warm_up);
        }
        text
    }

    /// The plan with endpoints, joins, threads, reports and thresholds.
    pub fn explain(&self) -> String {
        let mut text = format!("{}\n\n", self.describe());
        text += &match &self.members {
            None => format!("whip       {}\nwhep       {}\n", self.whip, self.whep),
            Some(members) => format!("sessions   {}\n", members.endpoint()),
        };
        let tokens = match self.tokens.len() {
            0 => String::new(),
            some => format!(", {} in turn", plural(some as u32, "token")),
        };
        text += &format!(
            "joins      over {:?}, each within {:?}{tokens}\n",
            self.join_over, self.patience
        );
        text += &format!("swarm      {} of bots\n", plural(self.threads as u32, "thread"));
        for file in [&self.json, &self.html].into_iter().flatten() {
            text += &format!("report     {}\n", file.display());
        }
        for threshold in &self.thresholds {
            text += &format!("fails if   {threshold}\n");
        }
        text
    }

    /// Name of a room.
    pub(crate) fn room_name(&self, number: u32) -> String {
        match self.rooms {
            1 => self.room.clone(),
            _ => format!("{}-{number}", self.room),
        }
    }

    /// The WHIP endpoint of a participant.
    pub(crate) fn whip_url(&self, room: &str, participant: &str) -> Result<Url, String> {
        expand(&self.whip, room, participant, participant)
    }

    /// The WHEP endpoint for a viewer of a room, or of one participant.
    pub(crate) fn whep_url(&self, room: &str, watched: &str, viewer: &str) -> Result<Url, String> {
        expand(&self.whep, room, watched, viewer)
    }

    /// Whether viewers need a session for each publisher.
    pub(crate) fn watches_one_by_one(&self) -> bool {
        self.members.is_none() && self.whep.contains("{participant}")
    }
}

/// The settings of a scenario.
fn preset(name: &str) -> Settings {
    let seconds = |n| Some(Time(Duration::from_secs(n)));
    let base = Settings {
        duration: seconds(30),
        rooms: Some(1),
        publishers: Some(1),
        ..Settings::default()
    };
    match name {
        "meeting" => Settings { publishers: Some(6), meeting: Some(true), ..base },
        "audio" => {
            Settings { publishers: Some(12), meeting: Some(true), video: Some(Video::Off), ..base }
        }
        "rooms" => Settings { rooms: Some(20), publishers: Some(3), meeting: Some(true), ..base },
        "churn" => Settings { viewers: Some(50), churn: Some(5.0), duration: seconds(60), ..base },
        "ramp" => Settings {
            step: Some(25),
            step_time: seconds(5),
            max_viewers: Some(1_000),
            duration: seconds(600),
            fail_if: thresholds(&["delay_p99 > 100ms", "loss > 0.5%", "failed > 1%"]),
            ..base
        },
        "flash" => Settings { viewers: Some(200), join_over: seconds(1), ..base },
        "soak" => Settings {
            rooms: Some(4),
            publishers: Some(2),
            viewers: Some(20),
            churn: Some(2.0),
            moves: Some(0.2),
            duration: seconds(1_200),
            fail_if: thresholds(&["failed > 0.5%", "loss > 0.1%", "corrupted > 0"]),
            ..base
        },
        _ => Settings { viewers: Some(50), ..base },
    }
}

fn plural(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn thresholds(texts: &[&str]) -> Vec<Threshold> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn read(path: &str) -> Result<(String, Settings), String> {
    let known = SCENARIOS.join(", ");
    let text = fs::read_to_string(path).map_err(|error| {
        format!("{path:?} is no scenario ({known}), and no file that can be read: {error}")
    })?;
    let settings = toml::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let stem = std::path::Path::new(path).file_stem();
    Ok((stem.map_or_else(|| path.to_owned(), |stem| stem.to_string_lossy().into()), settings))
}

fn endpoints(settings: &Settings) -> Result<(String, String), String> {
    let below = |path: &str| {
        let server = settings.server.as_ref()?.trim_end_matches('/');
        let scheme = if server.contains("://") { "" } else { "http://" };
        Some(format!("{scheme}{server}{path}"))
    };
    // With a token, the token's subject is the participant's name, so no name is requested.
    let anonymous = settings.token.is_none() && settings.tokens.is_none();
    let named = |path: &str, name: &str| match anonymous {
        true => below(&format!("{path}?participant={name}")),
        false => below(path),
    };
    let missing = |flag: &str| format!("where is the server? --server URL, or {flag} URL");
    let whip = settings.whip.clone().or_else(|| named("/whip/{room}", "{participant}"));
    let whep = settings.whep.clone().or_else(|| named("/whep/{room}", "{viewer}"));
    Ok((whip.ok_or_else(|| missing("--whip"))?, whep.ok_or_else(|| missing("--whep"))?))
}

fn expand(template: &str, room: &str, participant: &str, viewer: &str) -> Result<Url, String> {
    let text = template
        .replace("{room}", room)
        .replace("{participant}", participant)
        .replace("{viewer}", viewer);
    let url = Url::parse(&text).map_err(|error| format!("{template}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{template}: http and https are allowed"));
    }
    Ok(url)
}

fn tokens(settings: &Settings) -> Result<Vec<Arc<str>>, String> {
    let Some(path) = &settings.tokens else {
        return Ok(settings.token.iter().map(|token| token.as_str().into()).collect());
    };
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let tokens: Vec<Arc<str>> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(Arc::from).collect();
    if tokens.is_empty() {
        return Err(format!("{}: no tokens in it", path.display()));
    }
    Ok(tokens)
}

fn ramp(settings: &Settings) -> Option<Ramp> {
    Some(Ramp {
        step: settings.step?.max(1),
        step_time: time(settings.step_time, 5).max(Duration::from_secs(2)),
        max: settings.max_viewers.unwrap_or(1_000),
    })
}

fn rate(name: &str, rate: Option<f64>) -> Result<f64, String> {
    let rate = rate.unwrap_or(0.0);
    if (0.0..=10_000.0).contains(&rate) {
        return Ok(rate);
    }
    Err(format!("{name} = {rate}: 0 to 10000 a second are allowed"))
}

fn time(time: Option<Time>, default_seconds: u64) -> Duration {
    time.map_or(Duration::from_secs(default_seconds), |time| time.0)
}

/// The time in whole seconds, rounded up: samples are taken at the end of a second.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_millis().div_ceil(1_000) as u64)
}

/// Half of the cores: the other half is for the server, which often runs on the same machine.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn bind_address(bind: Option<IpAddr>, server: SocketAddr) -> Result<SocketAddr, String> {
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    Ok(SocketAddr::new(bind.unwrap_or(any), 0))
}

/// The address from which packets to the server leave. A connected socket knows it; nothing is sent.
fn local_address(bind: SocketAddr, server: SocketAddr) -> SocketAddr {
    if !bind.ip().is_unspecified() {
        return bind;
    }
    let asked = UdpSocket::bind(bind).and_then(|socket| {
        socket.connect(server)?;
        socket.local_addr()
    });
    asked.unwrap_or(bind)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(flags: &[&str]) -> Result<Plan, String> {
        let flags = ["sfumato-loadtest"].iter().chain(flags).copied();
        Plan::resolve(Arguments::try_parse_from(flags).map_err(|e| e.to_string())?)
    }

    const SERVER: [&str; 2] = ["--server", "http://127.0.0.1:8080/"];

    #[test]
    fn every_scenario_is_a_plan() {
        for name in SCENARIOS {
            let plan = plan(&[&[name][..], &SERVER].concat()).unwrap();
            assert!(plan.describe().starts_with(name));
            let (a, v) = (plan.whip_url("r", "p").unwrap(), plan.whep_url("r", "p", "v").unwrap());
            assert_eq!(a.as_str(), "http://127.0.0.1:8080/whip/r?participant=p");
            assert_eq!(v.as_str(), "http://127.0.0.1:8080/whep/r?participant=v");
            assert_eq!(plan.local.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
    }

    #[test]
    fn with_a_token_a_bot_asks_for_no_name() {
        let plan = plan(&["webinar", "--server", "localhost:8080", "--token", "t"]).unwrap();
        assert_eq!(plan.whip_url("r", "p").unwrap().as_str(), "http://localhost:8080/whip/r");
        assert_eq!(plan.whep_url("r", "p", "v").unwrap().as_str(), "http://localhost:8080/whep/r");
    }

    #[test]
    fn a_plan_is_explained_without_its_tokens() {
        let flags = ["audio", "--token", "geheim", "--fail-if", "loss > 1%", "--duration", "8s"];
        let text = plan(&[&flags[..], &SERVER].concat()).unwrap().explain();
        for part in
            ["whip       http://127.0.0.1:8080/whip/{room}\n", "over 2s", "1 token", "loss > 1%"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("geheim"));
    }

    #[test]
    fn flags_change_a_scenario() {
        let plan =
            plan(&[&["flash", "--viewers", "7", "--video", "off"][..], &SERVER].concat()).unwrap();
        assert_eq!((plan.viewers, plan.video.len()), (7, 0));
        assert_eq!(plan.join_over, Duration::from_secs(1));
    }

    #[test]
    fn a_warm_up_is_whole_seconds_and_all_is_told() {
        let flags = "webinar --warm-up 1500ms --bystanders 3 --stalled 10% --loss 2% --delay 60ms";
        let flags: Vec<&str> = flags.split(' ').collect();
        let plan = plan(&[&flags[..], &SERVER].concat()).unwrap();
        assert_eq!(plan.warm_up, Duration::from_secs(2));
        let text = plan.describe();
        for part in [
            "50 viewers beside 3 bystanders",
            "10 % of the viewers stall",
            "2 % loss, 60ms delay) for all",
            "first 2s",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_file_changes_the_scenario_that_it_names() {
        let path = std::env::temp_dir().join(format!("loadtest-{}.toml", std::process::id()));
        fs::write(&path, "scenario = 'flash'\nviewers = 9\nserver = 'http://127.0.0.1:1'\n")
            .unwrap();
        let text = path.to_str().unwrap();
        let file = plan(&[text, "--rooms", "2"]).unwrap();
        assert_eq!((file.viewers, file.rooms), (9, 2));
        fs::write(&path, "scenario = 'party'").unwrap();
        assert!(plan(&[text]).unwrap_err().contains("webinar"));
        fs::remove_file(&path).unwrap();
        assert!(plan(&[text]).unwrap_err().contains("no file"));
    }

    #[test]
    fn the_scenario_files_are_valid() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() >= 4);
        for file in files {
            let plan = plan(&[&[file.to_str().unwrap()][..], &SERVER].concat()).unwrap();
            assert!(!plan.thresholds.is_empty(), "{}", plan.name);
        }
    }

    #[test]
    fn impossible_plans_are_refused_with_a_reason() {
        let refused = |flags: &[&str]| plan(&[flags, &SERVER].concat()).unwrap_err();
        assert!(plan(&["webinar"]).unwrap_err().contains("--server"));
        assert!(refused(&["webinar", "--viewers", "100000"]).contains("60000"));
        assert!(refused(&["webinar", "--payload", "2000"]).contains("1120"));
        assert!(refused(&["webinar", "--fps", "0"]).contains("1 to 240"));
        assert!(refused(&["webinar", "--video", "off", "--audio", "off"]).contains("off"));
        assert!(refused(&["webinar", "--churn=-1"]).contains("0 to 10000"));
        assert!(refused(&["webinar", "--warm-up", "30s"]).contains("nothing is left"));
        assert!(refused(&["webinar", "--bystanders", "60000"]).contains("60051"));
        assert!(plan(&["webinar", "--server", "ftp://127.0.0.1/"]).unwrap_err().contains("https"));
    }
}
