//! Configuration in tables: settings, and the resulting values or errors.

use std::time::Duration;

use transport::Consent;

use super::*;

const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAzYz14fH+WH+yQ8tnkWsE6nsqjvey0sgjkteyJmndwv8=
-----END PUBLIC KEY-----";
const SECRET: &str = "planted-secret-planted-secret-planted";

fn load(file: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigError> {
    load_as(Mode::Serve, file, env, set)
}

fn load_as(
    mode: Mode,
    file: &str,
    env: &[(&str, &str)],
    set: &[&str],
) -> Result<Config, ConfigError> {
    let name =
        format!("sfumato-config-{}-{:?}.toml", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, file).unwrap();
    let flags = cli::Settings {
        config: Some(path.clone()),
        set: set.iter().map(|&s| s.to_owned()).collect(),
        ..cli::Settings::default()
    };
    let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let loaded = Config::load(mode, &flags, env);
    std::fs::remove_file(&path).unwrap();
    loaded
}

#[test]
fn defaults_serve_this_machine_with_a_test_card() {
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.media.port, 7882);
    assert!(config.auth.is_open());
    assert_eq!(config.test_card.unwrap().as_str(), "demo");
    assert_eq!(config.log.level, "info");
    assert_eq!(config.limits, room::Limits::default());
    assert_eq!(config.media.bounds.packet_memory, None, "by the machine");
    assert_eq!(config.media.bounds.rates, worker::RateLimits::default());
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = "[media]\nport = 1\nworkers = 1\npin = false\n";
    let env = [("SFUMATO_MEDIA_PORT", "2"), ("SFUMATO_MEDIA_WORKERS", "2")];
    let config = load(file, &env, &["media.port=3"]).unwrap();
    assert_eq!(config.media.port, 3);
    assert_eq!(config.media.workers.unwrap().get(), 2);
    assert!(!config.media.pin);
}

#[test]
fn media_keeps_a_session_alive_unless_the_operator_wants_checks() {
    let consent = |file| load(file, &[], &[]).unwrap().media.consent;
    assert_eq!(consent(""), Consent::ChecksOrMedia);
    assert_eq!(consent("[media]\nconsent = \"checks-or-media\"\n"), Consent::ChecksOrMedia);
    assert_eq!(consent("[media]\nconsent = \"checks\"\n"), Consent::Checks);
    assert_eq!(consent("[media]\nconsent = \"any\"\n"), Consent::Any);
}

#[test]
fn every_source_can_set_every_kind_of_value() {
    let file = r#"
        [http]
        cors_origins = ["https://a.example", "http://localhost:*"]
        requests_per_second = 2.5
        [auth]
        keys = { one = "0123456789abcdef0123456789abcdef" }
        audience = "here"
        [ice]
        servers = [
            { urls = "stun:s.example" },
            { urls = ["turn:t.example", "turns:t.example"], username = "u", credential = "c" },
        ]
        [limits]
        rooms = 7
        sessions_per_subject = 8
        [log]
        format = "json"
    "#;
    let config = load(file, &[], &[]).unwrap();
    assert_eq!(config.http.cors_origins.len(), 2);
    assert_eq!(config.http.limits.per_address.per_second, 2.5);
    assert_eq!(config.auth.keys.len(), 1);
    assert_eq!(config.auth.audience.as_deref(), Some("here"));
    assert_eq!(config.ice.len(), 2);
    assert_eq!((config.limits.rooms, config.limits.sessions_per_subject), (7, 8));
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.test_card.is_none(), "keys are set, so this is no demo");

    let env = [
        ("SFUMATO_HTTP_CORS_ORIGINS", "https://a.example, http://localhost:*"),
        ("SFUMATO_HTTP_REQUESTS_PER_SECOND", "2.5"),
        (
            "SFUMATO_AUTH_KEYS",
            "one=0123456789abcdef0123456789abcdef,two=0123456789abcdef0123456789abcde=",
        ),
        ("SFUMATO_ICE_SERVERS", "stun:s.example"),
        ("SFUMATO_LIMITS_ROOMS", "7"),
        ("SFUMATO_SERVICE_HOST", "10.0.0.1"),
        ("SFUMATO_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("HOME", "/root"),
    ];
    let config = load("", &env, &[]).unwrap();
    assert_eq!(config.http.cors_origins.len(), 2);
    assert_eq!(config.auth.keys["two"].reveal(), "0123456789abcdef0123456789abcde=");
    assert_eq!(config.ice[0].urls, ["stun:s.example"]);
    assert_eq!(config.limits.rooms, 7);
}

#[test]
fn errors_of_wrong_values_name_key_value_rule_and_origin() {
    let cases = [
        ("http.listen", "\"localhost\""),
        ("http.metrics_listen", "1"),
        ("http.cors_origins", "[\"app.example\"]"),
        ("http.requests_per_second", "-1"),
        ("http.requests_burst", "0"),
        ("http.connections", "0"),
        ("http.idle_seconds", "0"),
        ("http.trusted_proxies", "[\"proxy.example\"]"),
        ("http.proxy_protocol", "1"),
        ("http.tls_cert", "\"\""),
        ("media.port", "65536"),
        ("media.bind", "[\"0.0.0.0\", \"127.0.0.1\"]"),
        ("media.advertise", "[\"0.0.0.0\"]"),
        ("media.workers", "0"),
        ("media.workers", "255"),
        ("media.pin", "\"yes\""),
        ("media.consent", "\"media\""),
        ("media.packet_memory", "\"512MB\""),
        ("media.packet_memory", "1000"),
        ("media.session_packet_memory", "\"2GiB\""),
        ("media.session_bits_per_second", "-1"),
        ("media.session_packets_per_second", "1000001"),
        ("media.session_rtcp_per_second", "\"many\""),
        ("media.session_data_messages_per_second", "0"),
        ("media.session_data_bits_per_second", "2000001"),
        ("media.session_nacks_per_second", "1.5"),
        ("auth.insecure_no_auth", "1"),
        ("auth.audience", "\"\""),
        ("auth.public_keys", "{ a = \"\" }"),
        ("auth.jwks_file", "\"\""),
        ("auth.jwks_url", "\"ftp://id.example/\""),
        ("auth.expiry_grace_seconds", "3601"),
        ("auth.expired_sessions", "\"some\""),
        ("http.outbound_allow", "[\"inside\"]"),
        ("http.outbound_ca", "\"\""),
        ("webhooks.dir", "\"\""),
        ("limits.rooms", "0"),
        ("limits.sessions", "\"many\""),
        ("limits.viewers_per_room", "-1"),
        ("limits.sessions_per_subject", "1000001"),
        ("rooms.members_max", "-1"),
        ("rooms.audible", "17"),
        ("rooms.codecs", "[\"vp8\", \"theora\"]"),
        ("rooms.empty_timeout_seconds", "604801"),
        ("rooms.lost_timeout_seconds", "\"1h\""),
        ("rooms.lifetime_seconds", "31622401"),
        ("rooms.newer_wins", "1"),
        ("log.level", "\"loud\""),
        ("log.format", "\"xml\""),
        ("demo.test_card", "2"),
        ("demo.room", "\"a/b\""),
    ];
    for (key, value) in cases {
        let (section, name) = key.split_once('.').unwrap();
        let error = load(&format!("[{section}]\n{name} = {value}\n"), &[], &[]).unwrap_err();
        let ConfigError::Value { key: named, allowed, .. } = &error else {
            panic!("{key} = {value}: {error}")
        };
        assert_eq!(*named, key);
        assert!(!allowed.is_empty());
        let text = error.to_string();
        assert!(text.contains(&format!("{key} = {value} (in /")), "{text}");
    }
    let text = load("", &[("SFUMATO_MEDIA_PORT", "x")], &[]).unwrap_err().to_string();
    assert_eq!(
        text,
        "media.port = \"x\" (in the environment as SFUMATO_MEDIA_PORT) is not allowed: \
         a UDP port from 1 to 65535, or 0 for any free one"
    );
    let text = load("", &[], &["media.port=x"]).unwrap_err().to_string();
    assert!(text.contains("(as --set)"), "{text}");
}

#[test]
fn rooms_have_the_settings_of_the_configuration() {
    let settings = |set: &[&str]| load("", &[], set).unwrap().rooms;
    assert_eq!(settings(&[]), room::RoomSettings::default());
    let set = settings(&[
        "rooms.members_max=20",
        "rooms.audible=6",
        "rooms.codecs=opus,vp8,H264",
        "rooms.empty_timeout_seconds=60",
        "rooms.lost_timeout_seconds=0",
        "rooms.lifetime_seconds=3600",
        "rooms.newer_wins=false",
    ]);
    let expected = room::RoomSettings {
        metadata: "".into(),
        members_max: 20,
        audible: 6,
        codecs: vec![model::Codec::Opus, model::Codec::Vp8, model::Codec::H264],
        empty_timeout: Duration::from_secs(60),
        lost_timeout: Duration::ZERO,
        lifetime: Some(Duration::from_secs(3_600)),
        newer_wins: false,
    };
    assert_eq!(set, expected);
    assert!(set.check().is_ok());
    assert_eq!(settings(&["rooms.lifetime_seconds=0"]).lifetime, None);
}

#[test]
fn unknown_keys_are_errors_with_the_known_ones() {
    for (file, env, set, key, known) in [
        ("[http]\nlisen = 1", None, None, "http.lisen", "http.listen"),
        ("[htp]\nlisten = 1", None, None, "htp.listen", "[http]"),
        ("", Some(("SFUMATO_LOG_LEVL", "x")), None, "log.levl", "log.level"),
        ("", None, Some("limits.room=1"), "limits.room", "limits.rooms"),
    ] {
        let env: Vec<_> = env.into_iter().collect();
        let set: Vec<_> = set.into_iter().collect();
        let error = load(file, &env, &set).unwrap_err();
        let ConfigError::UnknownKey { key: named, known: names, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(named, key);
        assert!(names.iter().any(|name| name == known), "{error}");
    }
}

#[test]
fn variables_of_other_programs_are_only_reported() {
    let env = [("SFUMATO_BIN", "x"), ("SFUMATO_MEDAI_PORT", "1"), ("SFUMATO_SERVICE_PORT", "1")];
    let mut strangers = load("", &env, &[]).unwrap().strangers;
    strangers.sort();
    assert_eq!(strangers, ["SFUMATO_BIN", "SFUMATO_MEDAI_PORT"]);
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    assert!(matches!(load("listen = 1", &[], &[]), Err(ConfigError::File { .. })));
    let error = load("[http]\nlisten = \n", &[], &[]).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let flags = cli::Settings { config: Some("/nowhere.toml".into()), ..Default::default() };
    let missing = Config::load(Mode::Serve, &flags, std::iter::empty()).unwrap_err();
    assert!(missing.to_string().contains("/nowhere.toml"));
}

#[test]
fn a_node_beyond_loopback_needs_keys_or_the_explicit_setting() {
    let open = "http.listen=0.0.0.0:8080";
    let text = load("", &[], &[open]).unwrap_err().to_string();
    assert!(text.contains("auth.keys") && text.contains("--insecure-no-auth"), "{text}");
    let config = load("", &[], &[open, "auth.insecure_no_auth=true"]).unwrap();
    assert!(config.auth.is_open());
    assert!(config.test_card.is_none());
    assert!(config.http.cors_origins.is_empty());
    let keys = format!("auth.keys=a={SECRET}");
    assert!(!load("", &[], &[open, &keys]).unwrap().auth.is_open());
    assert!(load("", &[], &[&keys, "auth.insecure_no_auth=true"]).is_err());
}

#[test]
fn public_keys_and_sets_of_keys_turn_authentication_on_and_are_checked() {
    let directory = std::env::temp_dir().join(format!("sfumato-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (pem, set) = (directory.join("key.pem"), directory.join("set.json"));
    let made = signaling::new_keys().unwrap();
    std::fs::write(&set, &made.set).unwrap();
    std::fs::write(&pem, ED25519_PEM).unwrap();
    let open = "http.listen=0.0.0.0:1";
    let by_path = format!("auth.public_keys=a={}", pem.display());
    let by_set = format!("auth.jwks_file={}", set.display());
    for keys in [&by_path, &by_set] {
        let config = load("", &[], &[open, keys]).unwrap();
        assert!(!config.auth.is_open() && config.test_card.is_none());
        assert!(config.auth.for_signaling(&config.outbound.build().unwrap()).is_ok());
        assert!(load("", &[], &[keys, "auth.insecure_no_auth=true"]).is_err());
    }
    let by_url = load("", &[], &[open, "auth.jwks_url=https://id.example/keys"]).unwrap();
    assert!(!by_url.auth.is_open());
    let inline = format!("[auth]\npublic_keys = {{ a = \"\"\"{ED25519_PEM}\"\"\" }}\n");
    assert!(!load(&inline, &[], &[open]).unwrap().auth.is_open());

    let why = |sets: &[&str]| load("", &[], sets).unwrap_err().to_string();
    let secret = format!("auth.keys=a={SECRET}");
    assert!(why(&[&by_path, &secret]).contains("auth.public_keys, a: another key has the same id"));
    let missing = why(&["auth.public_keys=b=/nonexistent.pem"]);
    assert!(missing.contains("auth.public_keys, b: /nonexistent.pem"), "{missing}");
    let private = format!("auth.public_keys=a={}", set.display());
    assert!(why(&[&private]).contains("BEGIN PUBLIC KEY"));
    let no_set = format!("auth.jwks_file={}", pem.display());
    assert!(why(&[&no_set]).contains("auth.jwks_file: "));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn webhooks_need_a_secret_and_a_directory() {
    let (urls, dir) = ("webhooks.urls=https://app.example/hook", "webhooks.dir=/tmp/x");
    let secret = format!("webhooks.secret={SECRET}");
    assert!(load("", &[], &[]).unwrap().webhooks.is_none());
    assert!(load("", &[], &[&secret, dir]).unwrap().webhooks.is_none());
    let why = |sets: &[&str]| load("", &[], sets).unwrap_err().to_string();
    assert!(why(&[urls, dir]).contains("webhooks.secret is not"));
    assert!(why(&[urls, &secret]).contains("webhooks.dir is not"));
    let wrong = why(&["webhooks.urls=ftp://app.example/hidden", &secret, dir]);
    assert!(wrong.starts_with("webhooks.urls = [redacted]"), "{wrong}");
    assert!(why(&[urls, "webhooks.secret=short", dir]).starts_with("webhooks.secret = [redacted]"));
    let set = load("", &[], &[urls, &secret, dir]).unwrap().webhooks.unwrap();
    assert_eq!((set.urls.len(), set.secrets.len()), (1, 1));
    assert!(!format!("{set:?}").contains(SECRET) && !format!("{set:?}").contains("/hook"));
    let list = format!("[webhooks]\nsecret = [\"{SECRET}\", \"{SECRET}2\"]\n");
    assert_eq!(load(&list, &[], &[urls, dir]).unwrap().webhooks.unwrap().secrets.len(), 2);
}

#[test]
fn with_authentication_every_origin_may_call_unless_a_list_is_set() {
    let keys = format!("auth.keys=a={SECRET}");
    let origins = |set: &[&str]| load("", &[], set).unwrap().http.cors_origins;
    assert_eq!(origins(&[&keys]), [signaling::OriginRule::any()]);
    assert_eq!(origins(&[&keys, "http.listen=0.0.0.0:1"]), [signaling::OriginRule::any()]);
    assert_eq!(origins(&[]), signaling::OriginRule::localhost());
    assert!(origins(&["http.listen=0.0.0.0:1", "auth.insecure_no_auth=true"]).is_empty());
    assert!(origins(&[&keys, "http.cors_origins="]).is_empty());
    assert_eq!(origins(&[&keys, "http.cors_origins=https://a.example"]).len(), 1);
}

#[test]
fn settings_that_need_each_other_are_required_together() {
    for (set, missing) in [
        ("http.tls_cert=/c.pem", "http.tls_key"),
        ("http.tls_key=/k.pem", "http.tls_cert"),
        ("http.proxy_protocol=true", "http.trusted_proxies"),
    ] {
        let text = load("", &[], &[set]).unwrap_err().to_string();
        assert!(text.contains(missing), "{text}");
    }
    let file = "[http]\ntls_cert = \"/c.pem\"\ntls_key = \"/k.pem\"\nproxy_protocol = true\n\
                trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nidle_seconds = 10\n";
    let http = load(file, &[], &[]).unwrap().http;
    assert!(http.tls.is_some() && http.proxy_protocol);
    assert_eq!((http.trusted_proxies.len(), http.limits.idle_timeout.as_secs()), (2, 10));
}

#[test]
fn demo_stays_on_this_machine() {
    assert!(load_as(Mode::Demo, "", &[], &[]).unwrap().test_card.is_some());
    let args = ["http.listen=0.0.0.0:1", "auth.insecure_no_auth=true"];
    assert!(load_as(Mode::Demo, "", &[], &args).is_err());
    let keys = format!("auth.keys=a={SECRET}");
    assert!(load_as(Mode::Demo, "", &[], &[&keys]).is_err());
}

#[test]
fn planted_secrets_appear_nowhere() {
    let file = format!(
        "[auth]\nkeys = {{ a = \"{SECRET}\" }}\n[ice]\nservers = [{{ urls = \"turn:t\", \
         username = \"u\", credential = \"{SECRET}\" }}]\n"
    );
    let config = load(&file, &[], &[]).unwrap();
    assert!(!format!("{config:?}").contains(SECRET));
    assert!(
        !format!("{:?}", config.auth.for_signaling(&config.outbound.build().unwrap()).unwrap())
            .contains(SECRET)
    );

    let broken = [
        format!("[auth]\nkeys = [\"{SECRET}\"]\n"),
        format!("[auth]\nkeys = {{ a = \"{SECRET}\", b = \"short\" }}\n"),
        format!("[auth]\nkeys = {{ a = \"{SECRET}\" \n"),
        format!("[ice]\nservers = [{{ urls = \"turn:t\", credential = \"{SECRET}\" }}]\n"),
        format!("[auth]\nkey = \"{SECRET}\"\n"),
    ];
    for file in broken {
        let error = load(&file, &[], &[]).unwrap_err();
        assert!(!error.to_string().contains(SECRET), "{error}");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
    for set in [format!("auth.keys={SECRET}"), format!("auth.keyz=a={SECRET}"), SECRET.to_owned()] {
        let error = load("", &[], &[&set]).unwrap_err();
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}
