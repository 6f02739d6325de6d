//! The command line. It is only parsed here; `config` gives the values their meaning.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A media server for calls: WHIP in, WHEP out, and a page to talk in.
#[derive(Debug, Parser)]
#[command(name = "sfumato", version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Settings,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node (the same as no subcommand).
    Serve(Settings),
    /// Run the node for this machine alone: loopback, no authentication, a test card in the room "demo".
    Demo(Settings),
    /// Read and check the configuration, print the resulting values, and exit.
    CheckConfig(Settings),
    /// Make a bearer token with one of the configured keys, or with a private key in a file.
    Token(Box<TokenArgs>),
    /// Make a pair of Ed25519 keys for tokens: the private key goes to a file, the set with the public key (for auth.jwks_file) to
    /// standard output.
    Keys(KeysArgs),
}

/// Settings from the command line. They win over the environment, which wins over the file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Settings {
    /// Configuration file (TOML).
    #[arg(long, env = "SFUMATO_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the HTTP listener [http.listen].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// UDP port of all media [media.port].
    #[arg(long, value_name = "PORT")]
    pub(crate) media_port: Option<String>,
    /// Addresses at which clients reach the media port, separated by commas [media.advertise].
    #[arg(long, value_name = "IP,..")]
    pub(crate) advertise: Option<String>,
    /// Number of worker threads [media.workers].
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<String>,
    /// Let everyone who can reach the node publish and watch [auth.insecure_no_auth].
    #[arg(long)]
    pub(crate) insecure_no_auth: bool,
    /// What to log: error, warn, info, debug, trace, or filter directives [log.level].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How to log: text or json [log.format].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Any other key, as in --set http.connections=100. May be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// The contents of the new token.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// The room, or * for all rooms.
    #[arg(long)]
    pub(crate) room: String,
    /// The bearer's identity; without it the bearer gets a generated name.
    #[arg(long)]
    pub(crate) identity: Option<String>,
    /// The bearer may send media: of all sources, or of these only: camera, microphone, screen, screen-audio.
    #[arg(long, value_name = "SOURCE,..", num_args = 0..=1, default_missing_value = "")]
    pub(crate) publish: Option<String>,
    /// The bearer may receive media.
    #[arg(long)]
    pub(crate) subscribe: bool,
    /// The bearer may send data messages; the default for who may publish or subscribe.
    #[arg(long, conflicts_with = "no_data")]
    pub(crate) data: bool,
    /// The bearer may not send data messages.
    #[arg(long)]
    pub(crate) no_data: bool,
    /// The others are not told that the bearer is in the room.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// The bearer may do everything in the room; with --room '*', also read metrics.
    #[arg(long)]
    pub(crate) admin: bool,
    /// A name for people.
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// Text of the application that the others in the room see.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) metadata: String,
    /// The bearer may not change its name and metadata.
    #[arg(long)]
    pub(crate) fixed_profile: bool,
    /// How long the token is valid: seconds, or with a unit as in 90s, 15m, 6h, 30d.
    #[arg(long, default_value = "6h", value_parser = parse_ttl)]
    pub(crate) ttl: std::time::Duration,
    /// The id of the key: in auth.keys (by default the first one in alphabetical order), or of --key-file (by default its
    /// thumbprint, as in the set that `sfumato keys` prints).
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    /// A file with an Ed25519 private key (PEM) that signs, instead of a secret of auth.keys.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<std::path::PathBuf>,
}

/// Where the new keys go.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The file for the private key; it must not exist yet.
    #[arg(long, value_name = "FILE", default_value = "sfumato-token-key.pem")]
    pub(crate) out: std::path::PathBuf,
}

impl Cli {
    /// The command; `serve` when none was given.
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

fn parse_ttl(text: &str) -> Result<std::time::Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("units are s, m, h and d".into()),
    };
    match number.parse::<u32>() {
        Ok(n) if n > 0 => Ok(std::time::Duration::from_secs(u64::from(n) * seconds)),
        _ => Err("a whole number above 0 is needed, as in 15m".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn no_subcommand_means_serve() {
        let cli = Cli::parse_from(["sfumato", "--listen", "127.0.0.1:1"]);
        let Command::Serve(settings) = cli.command() else { panic!("not serve") };
        assert_eq!(settings.listen.as_deref(), Some("127.0.0.1:1"));
    }

    #[test]
    fn times_to_live_have_units() {
        assert_eq!(parse_ttl("90").unwrap().as_secs(), 90);
        assert_eq!(parse_ttl("2h").unwrap().as_secs(), 7_200);
        assert!(parse_ttl("0").is_err());
        assert!(parse_ttl("5w").is_err());
        assert!(parse_ttl("-1").is_err());
        assert!(parse_ttl("").is_err());
    }
}
