//! The hostile run: builds the node, unless `SFUMATO_BIN` names one, and the attackers, and lets them work.

use crate::run::cargo;

pub(crate) fn hostile(args: &[String]) -> Result<(), String> {
    if std::env::var_os("SFUMATO_BIN").is_none() {
        cargo(&["build", "--quiet", "--release", "-p", "sfumato"], &[])?;
    }
    let run = ["run", "--quiet", "--release", "-p", "sfumato-loadtest"];
    cargo(&[&run[..], &["--bin", "sfumato-hostile", "--"]].concat(), args)
}
