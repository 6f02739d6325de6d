//! The settings as they were given, not checked yet: flags, and a scenario file with the same names. Flags win.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use serde::Deserialize;

use crate::{
    threshold::Threshold,
    units::{Bitrate, Share, Span, Time},
};

/// Loads a WHIP/WHEP server with WebRTC peers and reports what they measured.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Arguments {
    /// The scenario: a name below, or a TOML file with the same keys as the flags
    #[arg(value_name = "SCENARIO", default_value = "webinar")]
    pub scenario: String,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Print the plan of the run, and exit
    #[arg(long)]
    pub plan: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sfumato-loadtest webinar --server http://127.0.0.1:8080 --viewers 200
  sfumato-loadtest churn --server http://127.0.0.1:8080 --fail-if 'loss > 0.1%' --html report.html
  sfumato-loadtest meeting --mode room --server http://127.0.0.1:8080 --publishers 10
  sfumato-loadtest webinar --whip http://host:8889/{room}/whip --whep http://host:8889/{room}/whep

A node of Sfumato limits requests by address, and all bots share one: start it with
  --set http.requests_per_second=0 --set http.token_requests_per_second=0

Scenarios:
  webinar   one publisher and many viewers
  meeting   everybody sends to everybody
  audio     a meeting without pictures
  rooms     many small rooms
  churn     a webinar whose viewers come and go at random
  ramp      viewers are added until a threshold breaks
  flash     everybody joins within a second
  soak      churn in several rooms, for long

TIME is 500ms, 10s or 5m; SHARE is 2% or 0.02; BITRATE is 500k or 2M.

Thresholds (--fail-if, may be repeated; the exit code is 1 when one is broken):
  loss, frame_loss, failed (shares or counts), corrupted, duplicates, reordered, undecryptable, freezes, joined, packets,
  freeze_time, delay_p50 _p95 _p99 _p999 _max, join_p50 _p99 _max, first_frame_p50 _p99, first_packet_p50 _p95, switch_p50 _p95,
  key_wait_p99, jitter_p99, lag_p99, bitrate, server_cpu, server_memory, bystander_delay_p50 _p99, bystander_loss, bystander_freezes

Exit codes: 0 all is well, 1 a threshold is broken or no peer could join, 2 the run was not possible.";

// The headings of the flags in the help.
const SERVER: &str = "Server";
const PEOPLE: &str = "Rooms, publishers and viewers";
const MEMBERS: &str = "Members with room sessions (--mode room)";
const MEDIA: &str = "Media";
const LINES: &str = "Bad lines";
const REPORTS: &str = "Reports";
const SWARM: &str = "The swarm itself";

/// Sources of video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Video {
    /// No video.
    Off,
    /// Real pictures: VP8, 640x360, 400 kbit/s.
    Vp8,
    /// The same in three layers, up to 1280x720 and 1 Mbit/s.
    Simulcast,
    /// Real pictures: H.264, 640x360, 500 kbit/s.
    H264,
    /// Generated packets of a given rate and size.
    Synthetic,
    /// Generated packets, as many for each picture as real video has: many for key frames, and for the others as in
    /// the clips.
    Real,
}

/// Sources of audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audio {
    /// No audio.
    Off,
    /// Real sound, 40 kbit/s.
    Opus,
    /// Generated packets of a given size, fifty per second.
    Synthetic,
    /// Silence as an encoder with discontinuous transmission sends it: a small packet every 400 ms.
    Dtx,
}

/// How bots join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Publishers by WHIP, viewers by WHEP.
    Whip,
    /// Members, each with one room session that sends and receives, and with its events (session API).
    Room,
}

/// All settings of a run. Settings that are not given have the scenario's default.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Base URL of the server; endpoints are /whip/{room} and /whep/{room} below it
    #[arg(help_heading = SERVER, long, env = "SFUMATO_LOADTEST_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// WHIP endpoint, with {room} and {participant}
    #[arg(help_heading = SERVER, long, value_name = "URL")]
    pub whip: Option<String>,
    /// WHEP endpoint, with {room}, {viewer}, and {participant} if each publisher is watched in a session of its own
    #[arg(help_heading = SERVER, long, value_name = "URL")]
    pub whep: Option<String>,
    /// Bearer token of all requests
    #[arg(help_heading = SERVER, long, env = "SFUMATO_LOADTEST_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File with bearer tokens, one per line; the participants use them in turn
    #[arg(help_heading = SERVER, long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Do not check certificates of https servers
    #[arg(help_heading = SERVER, long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: Option<bool>,

    /// The scenario on which a file is based
    #[arg(skip)]
    pub scenario: Option<String>,
    /// Length of the run, joining included
    #[arg(help_heading = PEOPLE, long, value_name = "TIME")]
    pub duration: Option<Time>,
    /// The totals of the report begin after this time, in whole seconds; the report's time line begins at once
    #[arg(help_heading = PEOPLE, long, value_name = "TIME")]
    pub warm_up: Option<Time>,
    /// Rooms
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub rooms: Option<u32>,
    /// Name of the room; of several rooms, the beginning of their names. By default each run has rooms of its own
    #[arg(help_heading = PEOPLE, long, value_name = "NAME")]
    pub room: Option<String>,
    /// Publishers in each room
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub publishers: Option<u32>,
    /// Viewers in each room (in a meeting the publishers watch, and these besides)
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub viewers: Option<u32>,
    /// Viewers in each room that join before the others, with good lines, and stay: their results are reported
    /// separately
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub bystanders: Option<u32>,
    /// Share of the viewers that stop reading their sockets at their first frame, and send nothing any more
    #[arg(help_heading = PEOPLE, long, value_name = "SHARE")]
    pub stalled: Option<Share>,
    /// Publishers watch each other
    #[arg(help_heading = PEOPLE, long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub meeting: Option<bool>,
    /// Time within which all join; 5s, or a quarter of a shorter run
    #[arg(help_heading = PEOPLE, long, value_name = "TIME")]
    pub join_over: Option<Time>,
    /// How long a single join may take
    #[arg(help_heading = PEOPLE, long, value_name = "TIME")]
    pub join_timeout: Option<Time>,
    /// Viewers per second that leave and are replaced
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub churn: Option<f64>,
    /// Share of the leaving viewers that send no goodbye
    #[arg(help_heading = PEOPLE, long, value_name = "SHARE")]
    pub silent: Option<Share>,
    /// Viewers per second that change their address
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub moves: Option<f64>,
    /// In a ramp: viewers that join in each step
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub step: Option<u32>,
    /// In a ramp: how long a step lasts
    #[arg(help_heading = PEOPLE, long, value_name = "TIME")]
    pub step_time: Option<Time>,
    /// In a ramp: the number of viewers at which it ends
    #[arg(help_heading = PEOPLE, long, value_name = "N")]
    pub max_viewers: Option<u32>,

    /// How bots join: by WHIP and WHEP, or as members of a room with sessions in both directions
    #[arg(help_heading = MEMBERS, long, value_enum)]
    pub mode: Option<Mode>,
    /// Publishers of each room that have a camera; by default all of them
    #[arg(help_heading = MEMBERS, long, value_name = "N")]
    pub cameras: Option<u32>,
    /// Most slots for sound of a member
    #[arg(help_heading = MEMBERS, long, value_name = "N")]
    pub audio_slots: Option<u8>,
    /// Most slots for pictures of a member
    #[arg(help_heading = MEMBERS, long, value_name = "N")]
    pub video_slots: Option<u8>,
    /// Members begin with one slot of each kind, and renegotiate when the server wants more
    #[arg(help_heading = MEMBERS, long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub grow: Option<bool>,
    /// How long a publisher of a room speaks, before the next one does
    #[arg(help_heading = MEMBERS, long, value_name = "TIME")]
    pub speaker_every: Option<Time>,
    /// The sound of all publishers is muted
    #[arg(help_heading = MEMBERS, long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub muted: Option<bool>,
    /// How often each viewer, who then has one slot for pictures, chooses another track for it
    #[arg(help_heading = MEMBERS, long, value_name = "TIME")]
    pub switch_every: Option<Time>,

    /// The publishers' video
    #[arg(help_heading = MEDIA, long, value_enum)]
    pub video: Option<Video>,
    /// The publishers' audio
    #[arg(help_heading = MEDIA, long, value_enum)]
    pub audio: Option<Audio>,
    /// Synthetic and real video: frames per second
    #[arg(help_heading = MEDIA, long, value_name = "N")]
    pub fps: Option<u32>,
    /// Synthetic video: packets of a frame; real video: their mean, key frames included
    #[arg(help_heading = MEDIA, long, value_name = "N")]
    pub packets: Option<u16>,
    /// Synthetic and real video: bytes of payload in a packet
    #[arg(help_heading = MEDIA, long, value_name = "BYTES")]
    pub payload: Option<u16>,
    /// Synthetic audio: bytes of payload in a packet
    #[arg(help_heading = MEDIA, long, value_name = "BYTES")]
    pub audio_payload: Option<u16>,
    /// Synthetic and real video: frames from one key frame to the next; 0: on request only
    #[arg(help_heading = MEDIA, long, value_name = "N")]
    pub key_every: Option<u32>,
    /// Real video: packets of a key frame, such as 100 or 40-150
    #[arg(help_heading = MEDIA, long, value_name = "N[-N]")]
    pub key_packets: Option<Span>,
    /// Packets of a frame that are sent at once, every 5 ms; by default 16 or a sixth of the frame
    #[arg(help_heading = MEDIA, long, value_name = "N")]
    pub burst: Option<u16>,

    /// Share of datagrams that bots lose, each way
    #[arg(help_heading = LINES, long, value_name = "SHARE")]
    pub loss: Option<Share>,
    /// Delay of the bots' lines, each way
    #[arg(help_heading = LINES, long, value_name = "TIME")]
    pub delay: Option<Time>,
    /// Jitter of the bots' lines, each way: at most this much additional delay
    #[arg(help_heading = LINES, long, value_name = "TIME")]
    pub jitter: Option<Time>,
    /// Rate limit of the bots' lines, each way
    #[arg(help_heading = LINES, long, value_name = "BITRATE")]
    pub rate: Option<Bitrate>,
    /// Share of the viewers with such a line; without this flag all viewers and publishers have it
    #[arg(help_heading = LINES, long, value_name = "SHARE")]
    pub faulty: Option<Share>,

    /// A condition under which the run fails, such as 'loss > 0.1%'
    #[arg(help_heading = REPORTS, long = "fail-if", value_name = "THRESHOLD")]
    pub fail_if: Vec<Threshold>,
    /// Process id of the server, if it runs on this machine: its CPU and memory are measured
    #[arg(help_heading = REPORTS, long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Write the report as JSON; "-": to standard output
    #[arg(help_heading = REPORTS, long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as an HTML page with plots
    #[arg(help_heading = REPORTS, long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Show nothing during the run
    #[arg(help_heading = REPORTS, long, short, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub quiet: Option<bool>,

    /// Threads for the bots
    #[arg(help_heading = SWARM, long, value_name = "N")]
    pub threads: Option<usize>,
    /// Requests to the server under way at a time
    #[arg(help_heading = SWARM, long, value_name = "N")]
    pub requests: Option<usize>,
    /// Address that the bots bind and offer
    #[arg(help_heading = SWARM, long, value_name = "IP")]
    pub bind: Option<std::net::IpAddr>,
    /// Let the kernel join received datagrams (UDP_GRO)
    #[arg(help_heading = SWARM, long, value_name = "BOOL", action = clap::ArgAction::Set)]
    pub gro: Option<bool>,
    /// Send the packets of a burst as one message (UDP_SEGMENT); browsers do not do that
    #[arg(help_heading = SWARM, long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub gso: Option<bool>,
    /// Seed of all random choices
    #[arg(help_heading = SWARM, long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Fills the settings that the first lacks from the second.
macro_rules! overlay {
    ($strong:ident, $weak:ident, $($name:ident),* $(,)?) => {
        Settings {
            $($name: $strong.$name.or($weak.$name),)*
            fail_if: if $strong.fail_if.is_empty() { $weak.fail_if } else { $strong.fail_if },
        }
    };
}

impl Settings {
    /// These settings, completed by the others.
    #[must_use]
    pub fn or(self, weak: Settings) -> Settings {
        let strong = self;
        overlay!(
            strong,
            weak,
            server,
            whip,
            whep,
            token,
            tokens,
            insecure,
            scenario,
            duration,
            warm_up,
            rooms,
            room,
            publishers,
            viewers,
            bystanders,
            stalled,
            meeting,
            join_over,
            join_timeout,
            churn,
            silent,
            moves,
            step,
            step_time,
            max_viewers,
            mode,
            cameras,
            audio_slots,
            video_slots,
            grow,
            speaker_every,
            muted,
            switch_every,
            video,
            audio,
            fps,
            packets,
            payload,
            audio_payload,
            key_every,
            key_packets,
            burst,
            loss,
            delay,
            jitter,
            rate,
            faulty,
            server_pid,
            json,
            html,
            quiet,
            threads,
            requests,
            bind,
            gro,
            gso,
            seed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_files_have_the_same_names() {
        let flags = Arguments::parse_from([
            "sfumato-loadtest",
            "meeting",
            "--server",
            "http://x/",
            "--join-over",
            "2s",
            "--warm-up",
            "3s",
            "--bystanders",
            "4",
            "--stalled",
            "10%",
            "--fail-if",
            "loss > 1%",
            "--fail-if",
            "freezes > 0",
            "--key-packets",
            "40-150",
            "--mode",
            "room",
            "--cameras",
            "2",
            "--speaker-every",
            "4s",
            "--grow",
            "--gso",
            "--gro",
            "false",
        ]);
        let file: Settings = toml::from_str(
            "server = 'http://x/'\njoin-over = '2s'\nwarm-up = '3s'\n\
             bystanders = 4\nstalled = '10%'\nfail-if = ['loss > 1%', 'freezes > 0']\n\
             key-packets = '40-150'\nmode = 'room'\ncameras = 2\n\
             speaker-every = '4s'\ngrow = true\ngso = true\ngro = false\n",
        )
        .unwrap();
        assert_eq!(format!("{:?}", flags.settings), format!("{file:?}"));
        assert!(
            toml::from_str::<Settings>("vewers = 3").unwrap_err().to_string().contains("viewers")
        );
    }

    #[test]
    fn flags_win_over_files() {
        let strong = Settings { viewers: Some(3), ..Settings::default() };
        let weak = Settings { viewers: Some(9), rooms: Some(2), ..Settings::default() };
        let both = strong.or(weak);
        assert_eq!((both.viewers, both.rooms), (Some(3), Some(2)));
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
